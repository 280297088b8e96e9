"""A formula with two cases: y = sqrt(1 + x) where x > 0, exp(x) elsewhere.

x and y [n], float32. One call must read x and write y, 8 * n bytes. About half of the elements take either side, in
no order, so a program that gathers each side's elements first moves several times as much, and on a GPU it must also
tell the host how many there are before it can go on.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None


def reference(x: Tensor) -> Tensor:
    """Both sides in float64, one chosen."""
    return torch.where(x > 0, torch.sqrt(1 + x), torch.exp(x))


def masked(x: Tensor, y: Tensor) -> None:
    """Each side computed for its own elements only, by boolean masks: no operation is wasted."""
    positive = x > 0
    negative = ~positive
    y[positive] = torch.sqrt(1 + x[positive])
    y[negative] = torch.exp(x[negative])


def indexed(x: Tensor, y: Tensor) -> None:
    """The same, with each mask turned into positions once instead of twice: isolates the repeated search."""
    positive = x > 0
    above = positive.nonzero().squeeze(1)
    below = (~positive).nonzero().squeeze(1)
    y.index_copy_(0, above, torch.sqrt(1 + x.index_select(0, above)))
    y.index_copy_(0, below, torch.exp(x.index_select(0, below)))


def where(x: Tensor, y: Tensor) -> None:
    """Both sides for every element, then a choice: twice the arithmetic, no gather."""
    torch.where(x > 0, torch.sqrt(1 + x), torch.exp(x), out=y)


def clamped(x: Tensor, y: Tensor) -> None:
    """No choice at all: sqrt(1 + max(x, 0)) * exp(min(x, 0)), where one factor is always exactly 1."""
    torch.clamp(x, min=0, out=y)
    y.add_(1).sqrt_()
    y.mul_(torch.clamp(x, max=0).exp_())


if triton is not None:

    @triton.jit
    def select_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
        """Both sides in registers, one stored."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        x = tl.load(x_ptr + at, mask=inside, other=0.0)
        y = tl.where(x > 0, tl.sqrt(1.0 + tl.maximum(x, 0.0)), tl.exp(x))
        tl.store(y_ptr + at, y, mask=inside)


def triton_select(x: Tensor, y: Tensor) -> None:
    """One launch, one read and one write."""
    n = x.shape[0]
    select_kernel[(triton.cdiv(n, 1024),)](x, y, n, BLOCK=1024)
