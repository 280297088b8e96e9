"""The workload's own baseline agrees with its reference, in every batch that is checked.

A reference that leaves something out makes wrong answers right: a candidate that leaves the same out is faster and passes. The
baseline was written to compute the same thing by other means, so its outputs are held against the oracle's answers as the
candidate's are. Blind spot: a mistake that reference and baseline share, as where one was copied from the other; errors below
the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.verify import Comparison


@dataclass(frozen=True)
class ReferenceCrosscheck(Protection):
    id = "output.reference_crosscheck"
    covers = ("output.invalid_ground_truth",)
    essential = True

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence | None:
        from aisp_runner.verify import disagreement

        if batch.arm != "baseline":
            return None
        right, observed, limit = disagreement(judge.case.outputs, comparisons)
        said = observed if right else f"the workload's own baseline disagrees with its reference: {observed}"
        return self.found("verify", right, said, limit, batch.arm)
