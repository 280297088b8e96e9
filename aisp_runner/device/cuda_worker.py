"""CUDA, the worker's side: opens the judge's rings and puts gate and done on the legacy default stream.

Everything a candidate could replace in torch is taken from the driver here, before its code is loaded.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from cuda.bindings import driver, runtime

from aisp_runner.device.driver import DONE, FINISHED, GATE, GO, PAGE_BYTES, as_bytes, bus_id, check, words
from aisp_runner.device.stamps import CuptiStamps, KernelStamps, KinetoStamps
from aisp_runner.errors import DeviceError

LEGACY_STREAM = 0


class CudaWorksite:
    """The worker's side. signals: descriptor of the shared page. gpu: number of its GPU, as this process counts them."""

    gated = True

    def __init__(self, signals: int, gpu: int = 0) -> None:
        self.gpu = gpu
        torch.cuda.set_device(gpu)
        torch.cuda.init()
        check(runtime.cudaSetDevice(gpu), f"changing to GPU {gpu}")
        scratch = torch.zeros(1, device=torch.device("cuda", gpu))
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
        """Raises DeviceError also for a ring on another GPU, which the driver would map all the same, by way of the bus."""
        here = bus_id(self.gpu)
        if handle["bus"] != here:
            raise DeviceError(
                f"CUDA: this process has the GPU at {here}, and its memory lies on the one at {handle['bus']}. CUDA orders "
                "GPUs differently here than in the judge: export CUDA_DEVICE_ORDER=PCI_BUS_ID and run again"
            )
        ipc = runtime.cudaIpcMemHandle_t()
        ipc.reserved = bytes.fromhex(handle["ipc"])
        flag = runtime.cudaIpcMemLazyEnablePeerAccess
        pointer = int(check(runtime.cudaIpcOpenMemHandle(ipc, flag), "opening the judge's ring"))
        return as_bytes(pointer, handle["nbytes"], self.gpu)

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
