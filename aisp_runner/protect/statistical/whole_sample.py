"""Every batch that was issued is in the sample, and every one in the sample was issued.

The judge numbers the batches it issues; the speed-up may be concluded only from all rounds, each with all five batches.
Nothing is dropped as an outlier. Blind spot: a run that is thrown away whole and repeated until it pleases; records of one
plan are appended, never replaced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class WholeSample(Protection):
    id = "statistical.whole_sample"
    covers = ("statistical.cherry_picking", "statistical.outlier_injection", "statistical.insufficient_samples")
    essential = True

    def judge_conclude(self, judge: Judge) -> Evidence:
        issued = dict(judge.issued)
        counted = Counter((b.round, b.arm, b.calls) for b in judge.batches)
        missing = sum(1 for key, n in issued.items() if counted[key] < n)
        extra = sum(1 for key, n in counted.items() if issued.get(key, 0) < n)
        timed = Counter(key[0] for key in counted if key[0] >= 0)
        uneven = sum(1 for n in timed.values() if n != 5)
        too_few = len(timed) < judge.case.measure.min_rounds
        ok = not (missing or extra or uneven or too_few)
        observed = (
            f"{len(judge.batches)} samples of {sum(issued.values())} batches issued, {missing} missing, {extra} unexplained, "
            f"{len(timed)} rounds, {uneven} incomplete"
        )
        return self.found("conclude", ok, observed, f"all, once, in {judge.case.measure.min_rounds} rounds or more")
