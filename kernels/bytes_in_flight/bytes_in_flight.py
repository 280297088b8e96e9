"""y = 2 x + 1, bound by memory: how many bytes must be on their way before memory is busy? CUDA only.

x, y [n], float32. One call must move 8 * n bytes. The kernels in bytes_in_flight.cu do the same one fused operation an element
and differ in how many bytes a thread asks for before it waits: 4, 16 in four loads, 16 in one load, or 64 in four.
"""

from __future__ import annotations

import ctypes
import functools
import os

import torch
from torch import Tensor


def reference(x: Tensor) -> Tensor:
    """The formula in float64."""
    return 2.0 * x + 1.0


def scalar(x: Tensor, y: Tensor) -> None:
    """A thread an element: 4 bytes a thread, 8 KB a multiprocessor that is full of threads. The kernel of every tutorial."""
    _enqueue("launch_scalar", x, y)


def strided(x: Tensor, y: Tensor) -> None:
    """As many threads as the device holds at once, in a loop: isolates starting blocks. The compiler may unroll the loop."""
    _enqueue("launch_strided", x, y)


def unrolled(x: Tensor, y: Tensor) -> None:
    """Four elements a thread, loaded before the first is used: 16 bytes in flight a thread, in four requests."""
    _enqueue("launch_unrolled", x, y)


def vector(x: Tensor, y: Tensor) -> None:
    """Four neighbouring elements in one load: the same 16 bytes in one request."""
    _enqueue("launch_vector", x, y)


def vector_unrolled(x: Tensor, y: Tensor) -> None:
    """Four such loads: 64 bytes a thread."""
    _enqueue("launch_vector_unrolled", x, y)


def library(x: Tensor, y: Tensor) -> None:
    """torch.add(1, x, alpha=2), which torch does with a vectorized kernel of its own."""
    torch.add(_one(x.device), x, alpha=2.0, out=y)


@functools.cache
def _one(device: torch.device) -> Tensor:
    return torch.ones((), device=device)


@functools.cache
def _kernels() -> ctypes.CDLL:
    """The library that the runner built from bytes_in_flight.cu."""
    return ctypes.CDLL(os.path.join(os.environ["AISP_BUILD_DIR"], "bytes_in_flight.so"))


def _enqueue(name: str, x: Tensor, y: Tensor) -> None:
    """One launch on the current stream. x and y must be aligned to 16 bytes. Raises RuntimeError with CUDA's error code."""
    stream = torch.cuda.current_stream().cuda_stream
    code = getattr(_kernels(), name)(
        ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), ctypes.c_longlong(x.numel()), ctypes.c_void_p(stream)
    )
    if code != 0:
        raise RuntimeError(f"{name}: CUDA error {code} for {x.numel()} elements")
