"""CUDA, the worker's side: opens the judge's rings and puts gate and done on the legacy default stream.

Everything a candidate could replace in torch is taken from the driver here, before its code is loaded.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from typing import Any, Self

import torch
from cuda.bindings import driver, runtime

from aisp_runner.device.driver import DONE, FINISHED, GATE, GO, PAGE_BYTES, as_bytes, check, words

LEGACY_STREAM = 0

CUPTI_BUFFER_BYTES = 8 << 20
"""Room for about 40,000 records of kernels."""


class CudaWorksite:
    """The worker's side. signals: descriptor of the shared page."""

    gated = True

    def __init__(self, signals: int) -> None:
        torch.cuda.init()
        scratch = torch.zeros(1, device="cuda")
        self._touch = functools.partial(scratch.add_, 1)
        self.touch()
        self.words = words(signals)
        os.close(signals)
        address = self.words.ctypes.data
        check(runtime.cudaHostRegister(address, PAGE_BYTES, runtime.cudaHostRegisterMapped), "pinning the shared page")
        page = int(check(runtime.cudaHostGetDevicePointer(address, 0), "mapping the shared page"))
        self._gate, self._done = page + 4 * GATE, page + 4 * DONE
        self._wait, self._write = driver.cuStreamWaitValue32, driver.cuStreamWriteValue32
        self._geq = driver.CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ
        self._synchronize = driver.cuCtxSynchronize
        self._upload = runtime.cudaGraphUpload
        self._stream: torch.cuda.Stream | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        """The last one: its memory is used again by the next, and a pool lives only as long as a graph does."""

    def map(self, handle: dict[str, Any], fd: int | None) -> torch.Tensor:
        ipc = runtime.cudaIpcMemHandle_t()
        ipc.reserved = bytes.fromhex(handle["ipc"])
        flag = runtime.cudaIpcMemLazyEnablePeerAccess
        return as_bytes(int(check(runtime.cudaIpcOpenMemHandle(ipc, flag), "opening the judge's ring")), handle["nbytes"])

    def unmap(self, memory: torch.Tensor) -> None:
        self.synchronize()
        self._graph = None  # its nodes hold addresses in there
        check(runtime.cudaIpcCloseMemHandle(memory.data_ptr()), "letting go of the judge's ring")

    def arm_gate(self, sequence: int) -> None:
        check(self._wait(LEGACY_STREAM, self._gate, sequence, self._geq), "enqueuing the gate")

    def enqueue_done(self, sequence: int) -> None:
        check(self._write(LEGACY_STREAM, self._done, sequence, 0), "enqueuing done")

    def wait_gate(self, sequence: int) -> None:
        page = self.words
        while page[GO] < sequence:
            time.sleep(0)

    def signal_done(self, sequence: int) -> None:
        self.words[FINISHED] = sequence

    def capture(self, calls: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """On a stream of its own, which is the current one meanwhile; the graph is uploaded, so that its replay only starts
        it.
        """
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        graph = torch.cuda.CUDAGraph()
        pool: dict[str, Any] = {} if self._graph is None else {"pool": self._graph.pool()}
        with torch.cuda.stream(self._stream):
            graph.capture_begin(capture_error_mode="thread_local", **pool)
            try:
                calls()
            finally:
                graph.capture_end()
        self._graph = graph
        if hasattr(graph, "raw_cuda_graph_exec"):
            check(self._upload(graph.raw_cuda_graph_exec(), LEGACY_STREAM), "uploading a graph")
        return graph

    def profiled(self, by: str) -> contextlib.AbstractContextManager[KernelStamps]:
        return CuptiStamps() if by == "cupti" else KinetoStamps()

    def touch(self) -> None:
        """Without a kernel the compute engine is never switched to this process, and an empty batch looks 130 us cheaper."""
        self._touch()

    def synchronize(self) -> None:
        check(self._synchronize(), "waiting for the device")


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
        the same number of kernels, else over all: stamps come in steps of 32 ns, which a median would keep.
        """
        if not self.spans or not calls:
            return {"error": self.missing}
        busy = _union_ns(self.spans)
        per_call, rest = divmod(len(self.spans), calls)
        parts = [self.spans[i * per_call : (i + 1) * per_call] for i in range(calls)] if not rest else []
        each: list[float] = sorted(_union_ns(part) for part in parts) or [busy / calls]
        middle = each[len(each) // 4 : len(each) - len(each) // 4]
        return {
            "kernels": len(self.spans),
            "busy_ns": busy,
            "span_ns": max(end for _, end in self.spans) - self.spans[0][0],
            "call_ns": sum(middle) / len(middle),
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
