"""CUDA driver and runtime calls with their return codes checked; the page of words that judge and worker share.

The sealed clock needs stream memory operations (cuStreamWaitValue32, cuStreamWriteValue32) on pinned host memory and CUDA
IPC. Method: docs/sealed-clock.md.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import torch

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


def as_bytes(pointer: int, nbytes: int) -> torch.Tensor:
    """Device memory at `pointer` as a uint8 tensor of one dimension; it does not own the memory."""
    return torch.as_tensor(_Allocation(pointer, nbytes), device="cuda")
