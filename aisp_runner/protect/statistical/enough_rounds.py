"""There are as many values as an interval of 95 % needs.

With one set of processes the interval is the sign test's over the neighbours' ratios, which needs six of them; with several it
is Student's over the sets, which needs two. With fewer an interval can be written down and covers less than it says, so a gate
that requires an outcome is INCONCLUSIVE. Blind spot: values that depend on one another; six that one disturbance has all made
alike count as six.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class EnoughRounds(Protection):
    id = "statistical.enough_rounds"
    covers = ("statistical.insufficient_samples",)

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        from aisp_runner.intervals import CONFIDENCE
        from aisp_runner.statistics import ENOUGH

        made = judge.measured
        if made is None or not made.rounds:
            return None
        times = made.estimate()
        if times.speedup is None:
            return None  # the clock cannot tell, and the verdict says so
        sets, values, covered = len(times.by_process), sum(map(len, times.by_process)), times.speedup.confidence
        seen = f"{values} pairs of batches in {sets} {'set' if sets == 1 else 'sets'} of processes"
        if covered < CONFIDENCE:
            few = f"{seen} cover {covered:.0%}, and an interval of {CONFIDENCE:.0%} needs {ENOUGH} or a second set"
            return self.unavailable("conclude", f"{few}: raise measure.min_rounds or measure.processes")
        return self.found("conclude", True, seen, f"{ENOUGH} pairs of one set, or two sets")
