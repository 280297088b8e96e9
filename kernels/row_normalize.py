"""Each row to mean 0 and variance 1: y = (x - mean) / sqrt(variance + 1e-5), variance over the row, not corrected.

x and y [rows, columns], float32. One call must read x and write y once, 8 * rows * columns bytes. As separate
operations it moves 32: mean and variance read x, subtract, divide and copy each read and write a whole tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

EPSILON = 1e-5


def reference(x: Tensor) -> Tensor:
    """Two passes in float64."""
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(dim=1, keepdim=True) + EPSILON)


def separate(x: Tensor, y: Tensor) -> None:
    """Mean and variance as separate reductions, as the formula is written."""
    mean = x.mean(dim=1, keepdim=True)
    variance = x.var(dim=1, keepdim=True, correction=0)
    y.copy_((x - mean) / torch.sqrt(variance + EPSILON))


def in_place(x: Tensor, y: Tensor) -> None:
    """The same two reductions, with no temporary of the size of x: isolates allocation and the copy."""
    mean = x.mean(dim=1, keepdim=True)
    variance = x.var(dim=1, keepdim=True, correction=0)
    torch.sub(x, mean, out=y)
    y.div_(variance.add_(EPSILON).sqrt_())


def one_reduction(x: Tensor, y: Tensor) -> None:
    """As in_place, with mean and variance from one reduction (var_mean): isolates the second read of x."""
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
    torch.sub(x, mean, out=y)
    y.div_(variance.add_(EPSILON).sqrt_())


def centred_norm(x: Tensor, y: Tensor) -> None:
    """As in_place, with the variance as a plain sum of squares of the centred rows: isolates var's running update."""
    torch.sub(x, x.mean(dim=1, keepdim=True), out=y)
    variance = torch.linalg.vector_norm(y, dim=1, keepdim=True).square_().div_(x.shape[1])
    y.div_(variance.add_(EPSILON).sqrt_())


def layer_norm(x: Tensor) -> Tensor:
    """The library's fused kernel. It returns its output, so the runner copies it, inside the timing."""
    return torch.nn.functional.layer_norm(x, x.shape[1:], eps=EPSILON)


if triton is not None:

    @triton.jit
    def normalize_kernel(x_ptr, y_ptr, columns, epsilon, BLOCK: tl.constexpr):
        """One row a program, held in registers: x is read once. BLOCK is a power of two, at least `columns`."""
        at = tl.arange(0, BLOCK)
        inside = at < columns
        start = tl.program_id(0).to(tl.int64) * columns
        x = tl.load(x_ptr + start + at, mask=inside, other=0.0)
        mean = tl.sum(x, axis=0) / columns
        centred = tl.where(inside, x - mean, 0.0)
        variance = tl.sum(centred * centred, axis=0) / columns
        tl.store(y_ptr + start + at, centred / tl.sqrt(variance + epsilon), mask=inside)


def triton_rows(x: Tensor, y: Tensor) -> None:
    """One launch, one read and one write. Rows of up to 65,536 columns."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    normalize_kernel[(rows,)](x, y, columns, EPSILON, BLOCK=block, num_warps=4 if block <= 2048 else 8)
