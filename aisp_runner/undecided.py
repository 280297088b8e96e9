"""How many sets of processes would decide a case that is UNDECIDED. Pure arithmetic on what its record says.

Asked of `verdict.outcome` itself, over what repetitions with that many sets would find: their centre and their deviation
vary, and the deviation between processes is known from this run's few sets only, as `intervals.reach` has it for the minimum
detectable effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aisp_runner import verdict
from aisp_runner.intervals import CONFIDENCE, POWER, Interval, student

MOST = 100
"""Sets of processes that are looked at; all of a case are alive at once."""
STEPS = 20
"""Points by which each of the three distributions is summed: 40 give the same number of sets, or one more or less."""


@dataclass(frozen=True)
class Need:
    """What would decide. sets: in all, None where `MOST` would not. outcome: what they would probably say, or ""."""

    sets: int | None
    outcome: str


def needed(speedup: Mapping[str, Any], control: Mapping[str, Any] | None) -> Need | None:
    """The fewest sets of processes that decide with probability `POWER`, if the speed-up is what this run says.

    speedup, control: as in a record. None where it is not known: one set of processes says nothing of others.
    """
    if speedup["processes"] < 2:
        return None
    low, high = int(speedup["processes"]), MOST
    if (at_most := _decides(speedup, control, MOST)) is None or low >= MOST:
        return Need(None, "")
    found = at_most
    while high - low > 1:  # more sets decide more often
        middle = (low + high) // 2
        if (outcome := _decides(speedup, control, middle)) is None:
            low = middle
        else:
            high, found = middle, outcome
    return Need(high, found)


def is_biased(control: Mapping[str, Any] | None) -> bool:
    """Whether the A/A control found a difference where there is none: its interval leaves 1 out."""
    return control is not None and not control["low"] <= 1 <= control["high"]


def floor(control: Mapping[str, Any] | None, processes: int, sets: int) -> float:
    """The noise floor, as a fraction, that so many sets would have. A difference that the control has found stays; the width
    of its interval shrinks.
    """
    if control is None:
        return 0.0
    stays = abs(math.log(control["value"])) if is_biased(control) else 0.0
    return max(stays, _t(sets) * deviation(control, processes) / math.sqrt(sets))


def deviation(interval: Mapping[str, Any], processes: int) -> float:
    """Standard deviation of ln(ratio) between sets of processes, from the Student interval over them."""
    return math.log(interval["high"] / interval["low"]) / 2 * math.sqrt(processes) / _t(processes)


def chances(speedup: Mapping[str, Any], control: Mapping[str, Any] | None, sets: int) -> dict[str, float]:
    """How often runs with so many sets would end with each outcome."""
    import numpy as np
    from scipy.special import chdtri, ndtri  # type: ignore[import-untyped]

    processes = int(speedup["processes"])
    points = (np.arange(STEPS) + 0.5) / STEPS
    known, seen = (np.sqrt(chdtri(n - 1, points) / (n - 1)) for n in (processes, sets))
    scale = deviation(speedup, processes) / math.sqrt(sets)
    error = (scale / known)[:, None]  # of the centre, one for each deviation that this run may have mistaken
    centres = np.broadcast_to((math.log(speedup["value"]) + error * ndtri(points)).ravel()[:, None], (STEPS * STEPS, STEPS))
    halves = np.repeat(_t(sets) * error * seen, STEPS, axis=0)
    limit, found = floor(control, processes, sets), dict.fromkeys(("FASTER", "SAME", "SLOWER", "UNDECIDED"), 0)
    lows, values, highs = (np.exp(x).ravel().tolist() for x in (centres - halves, centres, centres + halves))
    for low, value, high in zip(lows, values, highs, strict=True):
        found[verdict.outcome(Interval(value, low, high, CONFIDENCE), speedup["margin"], limit)] += 1
    return {outcome: count / STEPS**3 for outcome, count in found.items()}


def _decides(speedup: Mapping[str, Any], control: Mapping[str, Any] | None, sets: int) -> str | None:
    """The outcome that is the most frequent one, where so many sets decide often enough."""
    told = chances(speedup, control, sets)
    if 1 - told.pop("UNDECIDED") < POWER:
        return None
    return max(told, key=lambda outcome: told[outcome])


def _t(sets: int) -> float:
    return student((1 + CONFIDENCE) / 2, sets - 1)
