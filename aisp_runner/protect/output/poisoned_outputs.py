"""Outputs hold poison until the batch writes them.

Before each batch every byte of every output is overwritten (NaN in floating outputs). What still is poison in the snapshot
was not written by the batch: skipped, truncated, left to a thread, or resting on what an earlier batch left there. Blind
spot: elements of calls that were not drawn for checking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.verify import Comparison


@dataclass(frozen=True)
class PoisonedOutputs(Protection):
    id = "output.poisoned_outputs"
    covers = (
        "output.uninitialized_memory",
        "output.stale_cache",
        "memory.pre_allocated_output",
        "workload.undeclared_shortcuts",
        "workload.early_exit",
        "workload.batch_shrinking",
        "workload.sequence_truncation",
        "location.background_thread",
        "location.lazy_evaluation_skip",
        "compile.mode_inconsistency",
        "compile.symbolic_shape_exploit",
        "distributed.rank_skipping",
        "distributed.gradient_bucketing_mismatch",
        "distributed.shard_size_mismatch",
        "evaluation.eval_code_exploitation",
    )
    essential = True

    def judge_before_batch(self, judge: Judge, batch: Batch) -> None:
        judge.poison_outputs(batch)

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence:
        left = sum(c.unwritten for c in comparisons)
        total = sum(c.elements for c in comparisons)
        return self.found(
            "verify", left == 0, f"{left} of {total} checked elements were never written", "0 elements", batch.arm
        )
