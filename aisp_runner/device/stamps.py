"""The device's own time stamps of a batch, taken in the worker: CUPTI's activity records, by either of two readers."""

from __future__ import annotations

from typing import Any, Self

import torch

from aisp_runner.sharing import NEAR

CUPTI_BUFFER_BYTES = 8 << 20
"""Room for about 40,000 records of kernels."""


class KernelStamps:
    """Start and end, ns, of everything the device did while it was entered; the first is the batch's own `touch`."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self.missing = "the profiler saw no kernel"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.spans = sorted(s for s in self.spans if s[1] > s[0])[1:]

    def summary(self, calls: int) -> dict[str, Any]:
        """Kernel-busy time is the union of the spans. call_ns: the mean over the middle half of the calls, where each has
        the same number of kernels, else over all: stamps come in steps of 32 ns, which a median would keep. quarter_ns: the
        lower quartile (of fewer than four the least) of the calls that took about as long as the quickest: of calls nearly as
        long as a turn, seven of ten have another process's turn in their middle, so a quartile of all would hold some.
        """
        if not self.spans or not calls:
            return {"error": self.missing}
        busy = _union_ns(self.spans)
        per_call, rest = divmod(len(self.spans), calls)
        parts = [self.spans[i * per_call : (i + 1) * per_call] for i in range(calls)] if not rest else []
        each: list[float] = sorted(_union_ns(part) for part in parts) or [busy / calls]
        near = [ns for ns in each if ns <= NEAR * each[0]]
        middle = each[len(each) // 4 : len(each) - len(each) // 4]
        return {
            "kernels": len(self.spans),
            "busy_ns": busy,
            "span_ns": max(end for _, end in self.spans) - self.spans[0][0],
            "call_ns": sum(middle) / len(middle),
            "quarter_ns": float(near[len(near) // 4]),
        }


class KinetoStamps(KernelStamps):
    """CUPTI's activity records by way of torch.profiler. The first one in a process takes 3.5 to 4.2 s on an H200."""

    def __enter__(self) -> Self:
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self.profiler.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.profiler.__exit__(*error)
        events = self.profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
        cuda = torch.autograd.DeviceType.CUDA
        self.spans = [(e.start_ns(), e.start_ns() + e.duration_ns()) for e in events if e.device_type() == cuda]
        super().__exit__()


class CuptiStamps(KernelStamps):
    """CUPTI's activity records by cupti-python, NVIDIA's binding: 0.07 s for the first, milliseconds for each further one."""

    cupti: Any = None

    def __enter__(self) -> Self:
        try:
            from cupti import cupti
        except ImportError as missing:  # the plan was made where it is installed
            self.missing = f"cupti-python: {missing}"
            return self
        self.cupti = cupti
        self.kinds = [cupti.ActivityKind.CONCURRENT_KERNEL, cupti.ActivityKind.MEMCPY, cupti.ActivityKind.MEMSET]
        cupti.activity_register_callbacks(lambda: (CUPTI_BUFFER_BYTES, 0), self._take)
        for kind in self.kinds:
            cupti.activity_enable(kind)
        return self

    def __exit__(self, *_: object) -> None:
        if self.cupti is None:
            return
        self.cupti.activity_flush_all(1)  # 1: records of unfinished buffers as well
        for kind in self.kinds:
            self.cupti.activity_disable(kind)
        super().__exit__()

    def _take(self, activities: Any) -> None:
        self.spans += [(a.start, a.end) for a in activities if a.kind in self.kinds]


def _union_ns(spans: list[tuple[int, int]]) -> int:
    """Length of the union of spans sorted by their start."""
    total, reached = 0, 0
    for start, end in spans:
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
