"""A polynomial at every element, y = c[0] + c[1] * x + c[2] * x**2 + ...: the same bytes, more operations with every term.

x, y [n], c [terms] (a weight), float32; x lies between -1 and 1, and there are at least two terms. One call must read x
and write y, 8 * n bytes, for 2 * (terms - 1) operations an element: a quarter of an operation a byte for each further
term. A launch for each operation adds bytes with every term as well, so its operations a byte never rise.
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
"""Elements of a block: x and y of a block take 512 KiB, half of the second-level cache of many cores."""


def reference(x: Tensor, c: Tensor) -> Tensor:
    """Horner's rule in float64."""
    y = torch.zeros_like(x)
    for term in reversed(c.unbind()):
        y = y * x + term
    return y


def eager(x: Tensor, c: Tensor, y: Tensor) -> None:
    """Horner's rule as it is written: a product and a sum for each term, each a new tensor, the last straight into y."""
    first, *inner, last = c.unbind()
    value = last
    for term in reversed(inner):
        value = value * x + term
    torch.add(value * x, first, out=y)


def in_place(x: Tensor, c: Tensor, y: Tensor) -> None:
    """The same launches, all in y: isolates allocation and the fresh memory it touches."""
    *rest, last = c.unbind()
    y.copy_(last.expand_as(y))
    for term in reversed(rest):
        y.mul_(x).add_(term)


def composite(x: Tensor, c: Tensor, y: Tensor) -> None:
    """Multiply-and-add in one launch a term: half the launches and three fifths of the bytes."""
    *rest, last = c.unbind()
    y.copy_(last.expand_as(y))
    for term in reversed(rest):
        torch.addcmul(term, y, x, out=y)


def blocked(x: Tensor, c: Tensor, y: Tensor) -> None:
    """As composite, a block at a time, so that only the first read and the last write leave the cache. CPU only."""
    for start in range(0, x.shape[0], BLOCK_ELEMENTS):
        composite(x[start : start + BLOCK_ELEMENTS], c, y[start : start + BLOCK_ELEMENTS])


def library(x: Tensor, c: Tensor, y: Tensor) -> None:
    """The first version through torch.compile, which fuses all terms. CUDA only: compiling for a CPU takes long."""
    _compiled()(x, c, y)


@functools.cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor], None]:
    return torch.compile(eager, dynamic=False)


if triton is not None:

    @triton.jit
    def horner_kernel(x_ptr, c_ptr, y_ptr, n, terms, BLOCK: tl.constexpr):
        """All terms of BLOCK elements in registers; a coefficient is one load for the whole block."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        x = tl.load(x_ptr + at, mask=inside, other=0.0)
        y = tl.zeros((BLOCK,), tl.float32)
        for i in range(1, terms + 1):
            y = y * x + tl.load(c_ptr + terms - i)
        tl.store(y_ptr + at, y, mask=inside)


def triton_fused(x: Tensor, c: Tensor, y: Tensor) -> None:
    """One launch for all terms: x read and y written once. n below 2**31 - 1024."""
    n = x.shape[0]
    horner_kernel[(triton.cdiv(n, 1024),)](x, c, y, n, c.shape[0], BLOCK=1024)
