"""A polynomial of each element, y = p(x) by Horner's rule: at how many operations a byte does memory stop being the limit?

x, y [n], p [degree + 1] the coefficients (a weight), float32. One call must move 8 * n bytes for 2 * degree * n operations:
degree / 4 operations a byte. A pass over memory moves 8 or 12 bytes an element for one or two of these operations; a kernel
that keeps the value in a register moves none.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

BLOCK_ELEMENTS = 65536
"""Elements of a block of x and y: 512 KiB, within a 1 MiB second-level cache."""

_compiled: list[object] = []


def reference(x: Tensor, p: Tensor) -> Tensor:
    """Horner's rule in float64."""
    y = torch.zeros_like(x)
    for coefficient in p:
        y = y * x + coefficient
    return y


def two_passes(x: Tensor, p: Tensor, y: Tensor) -> None:
    """A multiplication and an addition a step, in place in y."""
    first, *others = p.unbind()
    y.copy_(first.expand_as(y))
    for coefficient in others:
        torch.mul(y, x, out=y)
        torch.add(y, coefficient, out=y)


def one_pass(x: Tensor, p: Tensor, y: Tensor) -> None:
    """One fused step, p + y * x: half the passes, as many operations."""
    first, *others = p.unbind()
    _steps(x, first, others, y)


def blocked(x: Tensor, p: Tensor, y: Tensor) -> None:
    """As one_pass, all steps on one block before the next: the passes go to the cache instead of memory. CPU only."""
    first, *others = p.unbind()
    for part, out in zip(x.split(BLOCK_ELEMENTS), y.split(BLOCK_ELEMENTS), strict=True):
        _steps(part, first, others, out)


def library(x: Tensor, p: Tensor, y: Tensor) -> None:
    """torch.compile makes one kernel of the loop. CUDA only: compiling for a CPU takes longer than the comparison."""
    if not _compiled:
        _compiled.append(torch.compile(_horner, dynamic=False))
    _compiled[0](x, p, y)


def _steps(x: Tensor, first: Tensor, others: list[Tensor], y: Tensor) -> None:
    y.copy_(first.expand_as(y))
    for coefficient in others:
        torch.addcmul(coefficient, y, x, out=y)


def _horner(x: Tensor, p: Tensor, y: Tensor) -> None:
    total = p[0].expand_as(x)
    for step in range(1, p.shape[0]):
        total = total * x + p[step]
    y.copy_(total)


if triton is not None:

    @triton.jit
    def horner_kernel(x_ptr, p_ptr, y_ptr, n, DEGREE: tl.constexpr, BLOCK: tl.constexpr):
        """BLOCK neighbouring elements a program; the value stays in a register for all steps."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        x = tl.load(x_ptr + at, mask=inside, other=0.0)
        y = tl.zeros((BLOCK,), tl.float32) + tl.load(p_ptr)
        for step in range(1, DEGREE + 1):
            y = y * x + tl.load(p_ptr + step)
        tl.store(y_ptr + at, y, mask=inside)


def triton_registers(x: Tensor, p: Tensor, y: Tensor) -> None:
    """One launch, every element read and written once, whatever the degree. n below 2**31 - 1024."""
    n = x.shape[0]
    horner_kernel[(triton.cdiv(n, 1024),)](x, p, y, n, DEGREE=p.shape[0] - 1, BLOCK=1024)
