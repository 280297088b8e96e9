"""CUDA, the worker's side: opens the judge's rings and puts gate and done on the legacy default stream.

Everything a candidate could replace in torch is taken from the driver here, before its code is loaded.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Any

import torch
from cuda.bindings import driver, runtime

from aisp_runner.device.driver import DONE, FINISHED, GATE, GO, PAGE_BYTES, as_bytes, check, words

LEGACY_STREAM = 0


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

    def map(self, handle: dict[str, Any], fd: int | None) -> torch.Tensor:
        ipc = runtime.cudaIpcMemHandle_t()
        ipc.reserved = bytes.fromhex(handle["ipc"])
        flag = runtime.cudaIpcMemLazyEnablePeerAccess
        return as_bytes(int(check(runtime.cudaIpcOpenMemHandle(ipc, flag), "opening the judge's ring")), handle["nbytes"])

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

    def touch(self) -> None:
        """Without a kernel the compute engine is never switched to this process, and an empty batch looks 130 us cheaper."""
        self._touch()

    def synchronize(self) -> None:
        check(self._synchronize(), "waiting for the device")
