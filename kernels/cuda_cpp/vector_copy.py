"""y = x, and nothing else: what a kernel must do to move bytes as fast as the memory can. CUDA only.

x and y [n], float32. One call must read x and write y, 8 * n bytes. The kernels are in vector_copy.cu.
"""

from __future__ import annotations

from cuda_launch import launch
from torch import Tensor


def reference(x: Tensor) -> Tensor:
    """The same content; nothing is rounded."""
    return x.clone()


def scalar(x: Tensor, y: Tensor) -> None:
    """A thread an element, 4 bytes each: coalesced, so a warp already asks for whole 128-byte lines."""
    launch("vector_copy", "launch_scalar", x, y, x.shape[0])


def float4(x: Tensor, y: Tensor) -> None:
    """16 bytes a thread: a quarter of the instructions for the same lines."""
    launch("vector_copy", "launch_float4", x, y, x.shape[0])


def in_flight(x: Tensor, y: Tensor) -> None:
    """Four loads of 16 bytes a thread before its first store: isolates the bytes under way from their width."""
    launch("vector_copy", "launch_in_flight", x, y, x.shape[0])


def bulk(x: Tensor, y: Tensor) -> None:
    """Hopper's copy engine moves pieces of 8 KiB through shared memory; one thread a block only asks. Needs sm_90."""
    launch("vector_copy", "launch_bulk", x, y, x.shape[0])


def library(x: Tensor, y: Tensor) -> None:
    """What torch calls: cudaMemcpyAsync from device to device."""
    y.copy_(x)
