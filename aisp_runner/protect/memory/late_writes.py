"""Outputs must stop changing once the worker says it is done.

At DONE, before anything slow, the judge swaps a few secret elements of every output for poison (tripwires) and then takes its
snapshot. A tripwire that has lost its poison was still being written: by a side stream, a thread, a host callback. Blind
spot: work that ends before the first tripwire lands, tens of microseconds after DONE on a CPU and up to about 280 on an H200;
`timing.drain_bound` and poisoned outputs look there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge


@dataclass(frozen=True)
class LateWrites(Protection):
    id = "memory.late_writes"
    covers = (
        "timing.unsynced_streams",
        "timing.incomplete_async_ops",
        "location.background_thread",
        "cuda.host_callback_escape",
        "cuda.async_memcpy_incomplete",
        "cuda.persistent_kernel",
        "memory.pinned_memory_timing",
        "distributed.async_gradient_timing",
        "distributed.barrier_timing",
    )

    elements: int = 64
    """Tripwires an output of each slot."""
    settle_ms: float = 3.0
    """How long after DONE a late write may take to show, ms. The snapshot is taken well before."""

    def judge_at_done(self, judge: Judge, batch: Batch) -> None:
        judge.lay_tripwires(batch, self.elements)

    def judge_after_batch(self, judge: Judge, batch: Batch) -> Evidence:
        time.sleep(max(0.0, self.settle_ms / 1e3 - (time.perf_counter_ns() - batch.done_ns) / 1e9))
        lost = judge.lost_tripwires(batch)
        observed = f"{lost} of {batch.calls} output slots were written after DONE"
        return self.found("after_batch", lost == 0, observed, f"0 slots within {self.settle_ms:g} ms", batch.arm)
