"""Every timed call reads content that did not exist before the batch was armed.

Content is drawn for each batch from a new secret seed, inputs are poisoned while the worker makes the batch ready, and
revealed just before the judge's clock starts. An output remembered from an earlier call is therefore wrong, and a wrong
output that the arm wrote before is recognised as stale. Blind spot: weights are the same for the whole case, as they are in
production; work done on them ahead of time is not seen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.verify import Comparison


@dataclass(frozen=True)
class FreshInputs(Protection):
    id = "output.fresh_inputs"
    covers = (
        "output.constant_output",
        "output.stale_cache",
        "timing.warmup_bleed",
        "memory.pre_allocated_output",
        "memory.memory_pool_reuse",
        "location.setup_pre_computation",
        "location.warmup_computation",
        "location.graph_capture_cheat",
        "cuda.workspace_pre_compute",
        "compile.compilation_cache_hit",
        "compile.trace_reuse",
        "evaluation.benchmark_memorization",
    )

    def judge_draw(self, judge: Judge, calls: int) -> None:
        judge.seed = judge.content.draw(calls)

    def judge_before_batch(self, judge: Judge, batch: Batch) -> None:
        judge.hide_inputs(batch)

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence:
        stale, checked = len(set(batch.stale_calls)), len(judge.checked[batch.arm])
        observed = f"{stale} of {checked} checked calls gave an output that belongs to earlier content"
        return self.found("verify", stale == 0, observed, "0 calls", batch.arm)
