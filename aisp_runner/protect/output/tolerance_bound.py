"""The candidate's outputs in the timed batches agree with the oracle's float64 answer, element by element, within the declared
tolerance. The baseline's are `output.reference_crosscheck`'s.

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
    covers = (
        "output.approximation_drift",
        "workload.precision_mismatch",
        "workload.early_exit",
        "workload.sequence_truncation",
        "workload.hidden_downsampling",
        "workload.sparsity_mismatch",
        "workload.attention_mask_mismatch",
        "workload.kv_cache_size_mismatch",
        "compile.mode_inconsistency",
        "compile.symbolic_shape_exploit",
        "distributed.collective_short_circuit",
        "distributed.pipeline_bubble_hiding",
        "evaluation.eval_code_exploitation",
        "evaluation.test_data_leakage",
        "evaluation.benchmark_overfitting",
        "evaluation.benchmark_memorization",
    )
    essential = True

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence | None:
        from aisp_runner.verify import disagreement

        if batch.arm == "baseline":
            return None  # output.reference_crosscheck looks at it
        right, observed, limit = disagreement(judge.case.outputs, comparisons)
        return self.found("verify", right, observed, limit, batch.arm)
