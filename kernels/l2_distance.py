"""Distance of each row of a to the same row of b: d[i] = sqrt(sum over j of (a[i, j] - b[i, j])**2).

a, b [rows, columns], d [rows], float32. One call must read a and b, 8 * rows * columns bytes, for 3 operations an element
of the difference: 0.375 a byte. As separate operations it moves 24: the difference is written and read, and its squares
are written and read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

BLOCK_ELEMENTS = 65536
"""Elements of a block of rows: its difference takes 256 KiB, which stays in a second-level cache."""

_scratch: dict[tuple[object, ...], Tensor] = {}


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The formula in float64."""
    return torch.sqrt(((a - b) ** 2).sum(dim=1))


def separate(a: Tensor, b: Tensor, d: Tensor) -> None:
    """The formula as it is written: subtract, square, sum, root. Reasonable: four calls that everyone can read."""
    difference = a - b
    torch.sqrt((difference * difference).sum(dim=1), out=d)


def norm(a: Tensor, b: Tensor, d: Tensor) -> None:
    """Square, sum and root in one reduction: isolates the squares' trip to memory."""
    torch.linalg.vector_norm(a - b, dim=1, out=d)


def reused(a: Tensor, b: Tensor, d: Tensor) -> None:
    """As norm, with the difference in a buffer that is kept: isolates allocation and the fresh memory it touches."""
    difference = _buffer(a, a.shape[0])
    torch.sub(a, b, out=difference)
    torch.linalg.vector_norm(difference, dim=1, out=d)


def blocked(a: Tensor, b: Tensor, d: Tensor) -> None:
    """As reused, a few rows at a time, so that the difference is read back from the cache. CPU only."""
    step = max(1, BLOCK_ELEMENTS // a.shape[1])
    buffer = _buffer(a, step)
    for start in range(0, a.shape[0], step):
        rows = a[start : start + step]
        difference = torch.sub(rows, b[start : start + step], out=buffer[: rows.shape[0]])
        torch.linalg.vector_norm(difference, dim=1, out=d[start : start + step])


def library(a: Tensor, b: Tensor) -> Tensor:
    """What a user would call. It returns its output, so the runner copies it, inside the timing."""
    return torch.nn.functional.pairwise_distance(a, b, eps=0.0)


def compiled(a: Tensor, b: Tensor, d: Tensor) -> None:
    """The first version through torch.compile. CUDA only."""
    _compiled()(a, b, d)


@functools.cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor], None]:
    return torch.compile(separate, dynamic=False)


def _buffer(a: Tensor, rows: int) -> Tensor:
    """Scratch of `rows` rows, kept between calls and written before it is read."""
    key = (a.device, rows, a.shape[1])
    if key not in _scratch:
        _scratch[key] = a.new_empty(rows, a.shape[1])
    return _scratch[key]


if triton is not None:

    @triton.jit
    def distance_kernel(a_ptr, b_ptr, d_ptr, columns, BLOCK: tl.constexpr):
        """One row a program, BLOCK columns at a time; the squares are added up in registers."""
        row = tl.program_id(0)
        start = row.to(tl.int64) * columns
        total = tl.zeros((BLOCK,), tl.float32)
        for offset in range(0, columns, BLOCK):
            at = offset + tl.arange(0, BLOCK)
            inside = at < columns
            a = tl.load(a_ptr + start + at, mask=inside, other=0.0)
            b = tl.load(b_ptr + start + at, mask=inside, other=0.0)
            total += (a - b) * (a - b)
        tl.store(d_ptr + row, tl.sqrt(tl.sum(total, axis=0)))


def triton_rows(a: Tensor, b: Tensor, d: Tensor) -> None:
    """One launch: a and b are read once and nothing but d is written."""
    rows, columns = a.shape
    distance_kernel[(rows,)](a, b, d, columns, BLOCK=1024)
