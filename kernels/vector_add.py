"""c = a + b, in 256 launches, in 16, or in one.

a, b, c [n], float32. One call must move 12 * n bytes for n operations, whatever the number of launches, so any
difference is the price of starting work.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

CHUNKS = 256
COARSE_CHUNKS = 16


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The sum in float64."""
    return a + b


def chunked(a: Tensor, b: Tensor, c: Tensor) -> None:
    """256 additions of a slice each, straight into the output."""
    _add_in(CHUNKS, a, b, c)


def coarse(a: Tensor, b: Tensor, c: Tensor) -> None:
    """The same loop over 16 slices: isolates the number of launches from the loop itself."""
    _add_in(COARSE_CHUNKS, a, b, c)


def split(a: Tensor, b: Tensor, c: Tensor) -> None:
    """256 additions, with the slices made by three split calls: isolates the price of slicing in Python."""
    step = -(-a.shape[0] // CHUNKS)
    for left, right, out in zip(a.split(step), b.split(step), c.split(step), strict=True):
        torch.add(left, right, out=out)


def vectorized(a: Tensor, b: Tensor, c: Tensor) -> None:
    """One addition."""
    torch.add(a, b, out=c)


def _add_in(chunks: int, a: Tensor, b: Tensor, c: Tensor) -> None:
    step = -(-a.shape[0] // chunks)
    for start in range(0, a.shape[0], step):
        torch.add(a[start : start + step], b[start : start + step], out=c[start : start + step])


if triton is not None:

    @triton.jit
    def add_kernel(a_ptr, b_ptr, c_ptr, n, BLOCK: tl.constexpr):
        """BLOCK neighbouring elements a program."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        a = tl.load(a_ptr + at, mask=inside)
        b = tl.load(b_ptr + at, mask=inside)
        tl.store(c_ptr + at, a + b, mask=inside)


def triton_add(a: Tensor, b: Tensor, c: Tensor) -> None:
    """One launch of a Triton kernel: the same work, started from Python instead of from C++. n below 2**31 - 1024."""
    n = a.shape[0]
    add_kernel[(triton.cdiv(n, 1024),)](a, b, c, n, BLOCK=1024)
