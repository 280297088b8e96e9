"""CUDA driver and runtime calls with their return codes checked; the page of words that judge and worker share.

The sealed clock needs stream memory operations (cuStreamWaitValue32, cuStreamWriteValue32) on pinned host memory and CUDA
IPC. Method: docs/sealed-clock.md.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from cuda.bindings import runtime

from aisp_runner.errors import DeviceError

PAGE_BYTES = 4096
GATE, GO, DONE, FINISHED = 0, 16, 32, 48
"""Indexes of 32-bit words in the shared page, a cache line apart: gate (device waits), go (host waits), done (device writes),
finished (host writes).
"""


def check(result: Any, doing: str) -> Any:
    """The value of a cuda-bindings call. Raises DeviceError with the driver's error name otherwise."""
    error = result[0]
    if int(error) != 0:
        raise DeviceError(f"CUDA: {doing} failed: {error.name} ({int(error)})")
    return result[1] if len(result) == 2 else result[1:]


def words(fd: int) -> np.ndarray:
    """The shared page as 1024 32-bit words."""
    return np.frombuffer(mmap.mmap(fd, PAGE_BYTES), dtype=np.uint32)


class _Allocation:
    """What torch needs to see a raw device pointer as uint8 memory."""

    def __init__(self, pointer: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (pointer, False), "version": 3}


def as_bytes(pointer: int, nbytes: int, gpu: int = 0) -> torch.Tensor:
    """Device memory at `pointer`, on that GPU, as a uint8 tensor of one dimension; it does not own the memory.

    The number is needed: what lies on another GPU than the one that is named, or current, would be copied there.
    """
    return torch.as_tensor(_Allocation(pointer, nbytes), device=torch.device("cuda", gpu))


@contextlib.contextmanager
def current(gpu: int) -> Iterator[None]:
    """Makes a GPU the current one of this thread: for torch, and for the runtime that cuda-bindings brings along.

    Each has its own library, which remembers the device by itself; what is current before is so again afterwards.
    """
    before = torch.cuda.current_device()
    with torch.cuda.device(gpu):
        check(runtime.cudaSetDevice(gpu), f"changing to GPU {gpu}")
        try:
            yield
        finally:
            check(runtime.cudaSetDevice(before), f"changing back to GPU {before}")


def bus_id(gpu: int) -> str:
    """Where a GPU sits on the machine's bus, whatever number a process knows it by: "0000:1b:00.0"."""
    told: bytes = check(runtime.cudaDeviceGetPCIBusId(32, gpu), f"asking GPU {gpu} for its place on the bus")
    return told.split(b"\0")[0].decode("ascii").strip()
