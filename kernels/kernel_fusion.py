"""The end of a transformer block, y = (gelu(x + bias) + residual) / 2: four elementwise operations, fused or not.

x, residual, y [rows, columns], bias [columns] (a weight), float32; gelu is the exact one, with erf. One call must read
x and residual and write y, 12 * rows * columns bytes; as four operations it moves 36: each but the first reads its
predecessor's result back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

SCALE = 0.5
BLOCK_ELEMENTS = 65536
"""Elements of a block of rows: x, residual and y of a block take 768 KiB, within the 1 MiB second-level cache of many cores."""


def reference(x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """The formula in float64."""
    return (gelu(x + bias) + residual) * SCALE


def eager(x: Tensor, bias: Tensor, residual: Tensor, y: Tensor) -> None:
    """The formula as it is written, with the last operation straight into y: four launches, three temporaries."""
    torch.mul(gelu(x + bias) + residual, SCALE, out=y)


def in_place(x: Tensor, bias: Tensor, residual: Tensor, y: Tensor) -> None:
    """The same four launches, all in y: isolates allocation and the fresh memory it touches."""
    torch.add(x, bias, out=y)
    torch.ops.aten.gelu_(y)
    y.add_(residual)
    y.mul_(SCALE)


def blocked(x: Tensor, bias: Tensor, residual: Tensor, y: Tensor) -> None:
    """As in_place, on a few rows at a time, so that y is still in the cache for the next operation."""
    step = max(1, BLOCK_ELEMENTS // x.shape[1])
    for start in range(0, x.shape[0], step):
        stop = start + step
        in_place(x[start:stop], bias, residual[start:stop], y[start:stop])


if triton is not None:

    @triton.jit
    def fused_kernel(x_ptr, bias_ptr, residual_ptr, y_ptr, columns, scale, BLOCK: tl.constexpr):
        """BLOCK neighbouring elements of one row a program; program (row, block of columns)."""
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = at < columns
        start = tl.program_id(0).to(tl.int64) * columns
        x = tl.load(x_ptr + start + at, mask=inside, other=0.0) + tl.load(bias_ptr + at, mask=inside, other=0.0)
        residual = tl.load(residual_ptr + start + at, mask=inside, other=0.0)
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
        tl.store(y_ptr + start + at, (y + residual) * scale, mask=inside)


def triton_fused(x: Tensor, bias: Tensor, residual: Tensor, y: Tensor) -> None:
    """One launch, every tensor read or written once."""
    rows, columns = x.shape
    fused_kernel[(rows, triton.cdiv(columns, 1024))](x, bias, residual, y, columns, SCALE, BLOCK=1024)
