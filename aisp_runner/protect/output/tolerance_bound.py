"""Outputs of the timed batches agree with the oracle's float64 answer, element by element, within the declared tolerance.

No share of elements may miss it, and absolute and relative parts add up, so neither alone can be made to swallow the other.
Blind spot: errors below the tolerance; `output.vacuous_tolerance` keeps that from being large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.verify import Comparison


@dataclass(frozen=True)
class ToleranceBound(Protection):
    id = "output.tolerance_bound"
    covers = ("output.approximation_drift", "workload.precision_mismatch", "workload.hidden_downsampling")
    essential = True

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence:
        wrong = sum(c.wrong for c in comparisons)
        total = sum(c.elements for c in comparisons)
        worst = max(comparisons, key=lambda c: c.wrong)
        spec = next(t for t in judge.case.outputs if t.name == worst.output)
        observed = f"{wrong} of {total} checked elements are wrong (largest error of {worst.output}: {worst.max_abs:.3g})"
        return self.found("verify", wrong == 0, observed, f"rtol {spec.rtol:g}, atol {spec.atol:g}", batch.arm)
