"""From batches to a time a call and to a ceiling. Nothing here touches a device: a `Clock` is handed in.

Method, that of the runner's sealed clock: n calls wait behind a gate; the time from opening it to seeing DONE is taken for two
batch lengths; a call takes (T(n2) - T(n1)) / (n2 - n1). What opening and seeing cost is in both and falls away.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aisp_runner.errors import DeviceError
from aisp_runner.peak.store import Try, Value

Call = Callable[[], object]

MOST_CALLS = 400
"""Calls of a batch at most: about 1,020 launches may be pending behind a gate."""
GROWTH = 4


class Clock(Protocol):
    """What takes the time of a batch."""

    gated: bool
    """Whether an empty batch takes time, too. Where it takes none, the short batch is one, and a call T(n) / n."""

    def warm(self, call: Call) -> None:
        """Runs the call without a gate and waits for it: what it loads or allocates would wait behind a gate for ever."""

    def batch(self, call: Call, calls: int) -> float:
        """Seconds from opening the gate to DONE, with so many calls between them."""


@dataclass(frozen=True)
class Effort:
    """How long and how often to measure."""

    repeats: int = 9
    rest_s: float = 0.01
    """Before each repeat, s."""
    batch_s: float = 0.008
    """Aimed length of a long batch, s."""
    sustained_s: float = 1.0
    """Load before and while the sustained value is taken, s."""


@dataclass(frozen=True)
class Way:
    """One way to reach a ceiling."""

    how: str
    call: Call
    work: float
    """Bytes or floating point operations of one call."""


@dataclass(frozen=True)
class Timing:
    """Time a call over all repeats."""

    seconds: float
    """Median."""
    spread: float
    """Distance of the quartiles over the median, as a fraction."""
    repeats: int
    calls: tuple[int, int]
    """Of a short and a long batch."""


def timing(clock: Clock, call: Call, effort: Effort, rest: Callable[[float], None] = time.sleep) -> Timing:
    """Time a call shortly after a rest. Raises DeviceError where a call is too short to be told from nothing.

    Short and long batch take turns at going first, so that a ramp of the clocks does not favour one of them.
    """
    clock.warm(call)
    short, long = lengths(clock, call, effort.batch_s)
    slopes = []
    for repeat in range(effort.repeats):
        rest(effort.rest_s)
        clock.warm(call)
        slopes.append(_slope(clock, call, short, long, long_first=bool(repeat % 2)))
    return _summary(slopes, (short, long))


def sustained(clock: Clock, call: Call, effort: Effort, now: Callable[[], float] = time.perf_counter) -> Timing:
    """Time a call under a load without a rest, over the second half of `effort.sustained_s`."""
    clock.warm(call)
    short, long = lengths(clock, call, 4 * effort.batch_s)
    begin = now()
    late: list[float] = []
    while now() - begin < effort.sustained_s or len(late) < 3:
        elapsed = now() - begin
        slope = _slope(clock, call, short, long, long_first=bool(len(late) % 2))
        if elapsed >= effort.sustained_s / 2:
            late.append(slope)
    return _summary(late, (short, long))


def lengths(clock: Clock, call: Call, batch_s: float) -> tuple[int, int]:
    """Calls of a short and a long batch. The long one takes about `batch_s` with 2 to 400 calls, the short one has a fifth."""
    empty, calls = clock.batch(call, 0), 1
    while (took := clock.batch(call, calls) - empty) < batch_s / GROWTH and calls < MOST_CALLS:
        calls = min(GROWTH * calls, MOST_CALLS)
    one = max(took / calls, 1e-9)
    long = int(min(MOST_CALLS, max(2, round(batch_s / one))))
    return max(1, long // 5) if clock.gated else 0, long


def best(clock: Clock, ways: Iterable[Way], unit: str, effort: Effort) -> tuple[Value, Way | None]:
    """The highest rate among the ways, in bytes or operations a second, and the way that gave it.

    A way that fails here, or cannot even be made, is kept with its reason; where all fail, the value has the reasons.
    """
    tried: list[Try] = []
    found: tuple[float, Way, Timing] | None = None
    making = iter(ways)
    while True:
        way = None
        try:
            if (way := next(making, None)) is None:
                break
            took = timing(clock, way.call, effort)
        except Exception as refused:  # torch, Triton and CUDA raise what they like; a way that fails is no ceiling
            tried.append(Try(way.how if way else "setting up", None, None, first_line(refused)))
            continue
        rate = way.work / took.seconds
        tried.append(Try(way.how, rate, took.spread))
        if found is None or rate > found[0]:
            found = rate, way, took
    if found is None:
        reasons = "; ".join(dict.fromkeys(t.reason for t in tried)) or "there is no way to measure it here"
        return Value(unit, None, reason=reasons, tried=tuple(tried)), None
    rate, way, took = found
    return Value(unit, rate, way.how, took.spread, took.repeats, tried=tuple(tried)), way


def first_line(error: BaseException) -> str:
    """What went wrong, short enough for a table."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def spread(values: Sequence[float]) -> float:
    """Distance of the quartiles over the median, as a fraction; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def _slope(clock: Clock, call: Call, short: int, long: int, long_first: bool) -> float:
    took = {calls: clock.batch(call, calls) for calls in ((long, short) if long_first else (short, long))}
    return (took[long] - took[short]) / (long - short)


def _summary(slopes: Sequence[float], calls: tuple[int, int]) -> Timing:
    middle = statistics.median(slopes)
    if middle <= 0:
        raise DeviceError(f"a call is too short to be timed in batches of {calls[0]} and {calls[1]}")
    return Timing(middle, spread(slopes), len(slopes), calls)
