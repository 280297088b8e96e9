"""The worker waits for the device by a driver call taken before candidate code was loaded, and looks whether clocks and waits
were replaced.

A candidate that replaces torch.cuda.synchronize, an event or a clock gains nothing (the judge holds the clock and the wait is
the driver's), and is refused for having tried. Blind spot: seen in the candidate's own process; native code can undo both,
which `memory.late_writes` and the drain bound do not depend on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.worker import Worker


def _watched() -> dict[str, Any]:
    """What a timing harness usually relies on, by name."""
    import torch

    cuda = torch.cuda
    return {
        "torch.cuda.synchronize": cuda.synchronize,
        "torch.cuda.current_stream": cuda.current_stream,
        "torch.cuda.Event": cuda.Event,
        "torch.cuda.Event.record": cuda.Event.record,
        "torch.cuda.Event.synchronize": cuda.Event.synchronize,
        "torch.cuda.Event.elapsed_time": cuda.Event.elapsed_time,
        "torch.cuda.Stream.synchronize": cuda.Stream.synchronize,
        "time.perf_counter_ns": time.perf_counter_ns,
        "time.perf_counter": time.perf_counter,
        "time.time": time.time,
    }


_AT_BOOT: dict[str, Any] = {}
"""In a worker: what `_watched` held before any candidate code was loaded."""


@dataclass(frozen=True)
class TrustedSync(Protection):
    id = "timing.trusted_sync"
    covers = (
        "timing.unsynced_streams",
        "timing.incomplete_async_ops",
        "timing.event_timing_gaps",
        "timing.clock_drift",
        "cuda.async_memcpy_incomplete",
        "memory.pinned_memory_timing",
        "distributed.async_gradient_timing",
    )

    def worker_boot(self, worker: Worker) -> None:
        worker.finish = worker.site.synchronize
        _AT_BOOT.update(_watched())

    def worker_after_batch(self, worker: Worker) -> Evidence:
        now = _watched()
        replaced = [name for name, original in _AT_BOOT.items() if now[name] is not original]
        ok = not replaced and worker.finish == worker.site.synchronize
        observed = (
            f"replaced: {', '.join(replaced) or 'the wait itself'}" if not ok else "clocks and waits are the original ones"
        )
        return self.found("after_batch", ok, observed, "nothing replaced", witness="worker")
