"""Every set of processes has measured the same thing.

A tuner that decides in each process anew may decide differently, and then the speed-up is that of whichever kernels it happened
to land on. Sets of processes agree to within what their rounds leave open, and some percent that two processes of one
program differ by; where their speed-ups are much further apart, no single number describes them. A busy machine can do the
same, so the finding is `unavailable`: INCONCLUSIVE in a gate. Blind spot: a run of one set (measure=quick); choices that differ
by less than `apart`; a tuner that happens to agree in these sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class SameChoice(Protection):
    id = "compile.same_choice"
    covers = ("compile.autotuning_variance",)

    apart: float = 0.25
    """Sets of processes may differ in their speed-up by this fraction."""
    scatter: float = 4.0
    """And by so many standard errors of one set, whichever is more."""

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        made = judge.measured
        if made is None or not made.rounds:
            return None
        by_process = made.estimate().by_process
        if len(by_process) < 2 or any(math.isnan(value) for own in by_process for value in own):
            return None
        speedups, error = centres(by_process)
        limit = max(math.log1p(self.apart), self.scatter * error)
        said = f"sets of processes give speed-ups of {', '.join(f'{math.exp(s):.2f}' for s in speedups)}"
        most = f"at most {math.expm1(limit):.0%} apart"
        if max(speedups) - min(speedups) > limit:
            return self.unavailable(
                "conclude",
                f"{said} ({most}): a choice that is made in each process anew, or a busy machine. Fix the choice, or run "
                "again with nothing beside it",
            )
        return self.found("conclude", True, said, most, "candidate")


def centres(by_process: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """(the median of each set's values, the standard error of the median of the smallest set): normal scatter is assumed."""
    from aisp_runner.intervals import MEDIAN_ERROR, NORMAL_MAD, median

    middles = [median(list(own)) for own in by_process]
    away = median([abs(value - middle) for own, middle in zip(by_process, middles, strict=True) for value in own])
    return middles, MEDIAN_ERROR * NORMAL_MAD * away / math.sqrt(min(map(len, by_process)))
