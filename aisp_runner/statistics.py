"""From paired batches to a speed-up with an interval. Pure functions of lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median with a distribution-free interval."""

    value: float
    low: float
    high: float
    confidence: float
    """What the interval really covers: at least the asked confidence, unless there are too few values for it."""


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones. Raises ValueError for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values to take a median of")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@cache
def sign_rank(count: int, confidence: float = CONFIDENCE) -> tuple[int, float]:
    """The largest k for which the k-th smallest and k-th largest of `count` values enclose the median with `confidence`, and
    what they cover.

    Method: the number of values below the true median is binomial(count, 1/2) (the sign test's interval). Where even the
    extremes cover less than asked (under 6 values for 95 %), k is 1 and the coverage says so.
    """
    tail, k = 0.5**count, 1
    while k < count // 2:
        wider = tail + math.comb(count, k) * 0.5**count
        if 1 - 2 * wider < confidence:
            break
        tail, k = wider, k + 1
    return k, 1 - 2 * tail


def median_interval(values: Sequence[float]) -> Interval:
    """Median and its interval at `CONFIDENCE`."""
    k, covered = sign_rank(len(values))
    ordered = sorted(values)
    return Interval(median(values), ordered[k - 1], ordered[-k], covered)


@dataclass(frozen=True)
class Round:
    """Times of one round, ns: an empty batch of the baseline, a short and a long batch of each arm."""

    empty_ns: float
    baseline_short_ns: float
    baseline_long_ns: float
    candidate_short_ns: float
    candidate_long_ns: float


@dataclass(frozen=True)
class Calls:
    """Calls of a short and a long batch, by arm."""

    baseline: tuple[int, int]
    candidate: tuple[int, int]


@dataclass(frozen=True)
class Estimate:
    """What the judge's clock says of a case."""

    log_ratios: tuple[float, ...]
    """ln(baseline / candidate) of each round; NaN where a time was not positive."""
    speedup: Interval | None
    """None where the clock cannot tell: a time a call was not positive."""
    naive: float
    """The speed-up by each arm's own slope: what a harness would say that trusts the candidate's short batches."""
    handshake_ns: float
    """What a batch costs beyond its calls: the median of the baseline's empty batches."""
    baseline_ns: float
    candidate_ns: float
    """Median time a call."""


def estimate(rounds: Sequence[Round], calls: Calls, sealed: bool = True) -> Estimate:
    """The speed-up over all rounds.

    A time a call is a long batch less the handshake, over its calls. The handshake comes from the *baseline's* empty batches,
    so that a candidate that pads its own short ones gains nothing (docs/sealed-clock.md). `sealed=False` is the plain slope
    between each arm's short and long batches, which trusts the candidate.
    """
    handshake = median([r.empty_ns for r in rounds])
    own = [
        (
            _slope(r.baseline_short_ns, r.baseline_long_ns, calls.baseline),
            _slope(r.candidate_short_ns, r.candidate_long_ns, calls.candidate),
        )
        for r in rounds
    ]
    whole = [
        ((r.baseline_long_ns - handshake) / calls.baseline[1], (r.candidate_long_ns - handshake) / calls.candidate[1])
        for r in rounds
    ]
    used = whole if sealed else [_trusting(r, o, calls) for r, o in zip(rounds, own, strict=True)]
    ratios = tuple(math.log(b / c) if b > 0 and c > 0 else math.nan for b, c in used)
    speedup = None
    if not any(math.isnan(r) for r in ratios):
        i = median_interval(ratios)
        speedup = Interval(math.exp(i.value), math.exp(i.low), math.exp(i.high), i.confidence)
    own_b, own_c = (median(column) for column in zip(*own, strict=True))
    baseline_ns, candidate_ns = (median(column) for column in zip(*used, strict=True))
    return Estimate(ratios, speedup, own_b / own_c if own_c > 0 else math.inf, handshake, baseline_ns, candidate_ns)


def _trusting(r: Round, own: tuple[float, float], calls: Calls) -> tuple[float, float]:
    b, c = own
    return (b if b > 0 else r.baseline_long_ns / calls.baseline[1]), (c if c > 0 else r.candidate_long_ns / calls.candidate[1])


def _slope(short_ns: float, long_ns: float, calls: tuple[int, int]) -> float:
    return (long_ns - short_ns) / (calls[1] - calls[0])


def half_width(ratios: Sequence[float]) -> float:
    """Half the width of the interval of the median of ln ratios; infinite under 6 rounds or with a NaN among them."""
    if len(ratios) < 6 or any(math.isnan(r) for r in ratios):
        return math.inf
    i = median_interval(ratios)
    return (i.high - i.low) / 2
