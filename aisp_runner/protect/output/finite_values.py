"""NaN and infinity are right only where the oracle's answer has the same.

Without this, a comparison that treats NaN as equal, or that a NaN silences, lets broken values pass. Blind spot: a workload
whose own answer is not finite is compared by kind only (NaN for NaN, infinity for infinity of the same sign).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.verify import Comparison


@dataclass(frozen=True)
class FiniteValues(Protection):
    id = "output.finite_values"
    covers = ("output.invalid_values_nan", "output.invalid_values_inf")

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence:
        odd = sum(c.nonfinite for c in comparisons)
        total = sum(c.elements for c in comparisons)
        observed = f"{odd} of {total} checked elements are NaN or infinite where the answer is not"
        return self.found("verify", odd == 0, observed, "0 elements", batch.arm)
