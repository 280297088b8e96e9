"""A linear layer of int8 weights whose inputs are made int8 on the way: does the product have to be one of integers?

x [n, d] float32, w [m, d] int8 and w_scale [m] int8 (weights; a number is code * 2**scale, a scale a row), y [n, m] float32. A
row of x becomes int8 codes with the smallest power of two for which they are within +-128, rounded, and 128 made 127; y is the
product of both. All codes and the sums of their products are integers below 2**31, so every way to the answer has the same
answer. One call must read x, w and w_scale and write y, 4 * n * (d + m) + m * (d + 1) bytes, for 2 * n * m * d operations.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None


def reference(x: Tensor, w: Tensor, w_scale: Tensor) -> Tensor:
    """The product of both sides' numbers in float64."""
    codes, scale = _codes(x)
    return (codes * _two_to(scale).double().unsqueeze(1)) @ (w * _two_to(w_scale).double().unsqueeze(1)).t()


def widened(x: Tensor, w: Tensor, w_scale: Tensor, y: Tensor) -> None:
    """Both sides as float32 numbers, then a float32 product. Reasonable: weights are stored narrow, and any product works."""
    codes, scale = _codes(x)
    numbers = w * _two_to(w_scale).unsqueeze(1)
    torch.mm(codes * _two_to(scale).unsqueeze(1), numbers.t(), out=y)


def scaled_after(x: Tensor, w: Tensor, w_scale: Tensor, y: Tensor) -> None:
    """Codes as float32, scales on the answer: n * m multiplications in place of m * d, and weights are only cast."""
    codes, scale = _codes(x)
    torch.mm(codes, w.float().t(), out=y)
    _scale(y, scale, w_scale)


def in_bfloat16(x: Tensor, w: Tensor, w_scale: Tensor, y: Tensor) -> None:
    """Codes as bfloat16, which holds every one exactly, and a tensor cores' product with float32 sums. CUDA only."""
    codes, scale = _codes(x)
    y.copy_(torch.mm(codes.bfloat16(), w.bfloat16().t(), out_dtype=torch.float32))
    _scale(y, scale, w_scale)


def library(x: Tensor, w: Tensor, w_scale: Tensor, y: Tensor) -> None:
    """torch._int_mm: int8 in, int32 out. The weights are never widened. On CUDA n is above 16, d and m are multiples of 8."""
    codes, scale = _codes(x)
    y.copy_(torch._int_mm(codes.to(torch.int8), w.t()))
    _scale(y, scale, w_scale)


def library_fused(x: Tensor, w: Tensor, w_scale: Tensor, y: Tensor) -> None:
    """library with the codes made by one Triton kernel, in place of seven passes over x: isolates making codes. CUDA only."""
    codes, scale = torch.empty_like(x, dtype=torch.int8), x.new_empty(x.shape[0], dtype=torch.int8)
    launch_rows(x, codes, scale)
    y.copy_(torch._int_mm(codes, w.t()))
    _scale(y, scale, w_scale)


def _two_to(exponent: Tensor) -> Tensor:
    """2**exponent in float32, by its bits and so exactly."""
    return (exponent.int() + 127).bitwise_left_shift(23).view(torch.float32)


def _codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of each row as whole numbers of x's type, and the row's scale. A power of two scales without rounding."""
    scale = torch.frexp(x.abs().amax(1)).exponent - 7
    return (x * _two_to(-scale).unsqueeze(1)).round_().clamp_(max=127), scale


def _scale(y: Tensor, scale: Tensor, w_scale: Tensor) -> None:
    y.mul_(_two_to(scale).unsqueeze(1)).mul_(_two_to(w_scale))


if triton is not None:

    @triton.jit
    def row_codes_kernel(x_ptr, codes_ptr, scale_ptr, d, BLOCK: tl.constexpr):
        """One row a program: its largest number, then its codes; the second look at the row finds it in a cache."""
        row = tl.program_id(0).to(tl.int64)
        largest = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, d, BLOCK):
            at = start + tl.arange(0, BLOCK)
            largest = tl.maximum(largest, tl.abs(tl.load(x_ptr + row * d + at, mask=at < d, other=0.0)))
        scale = (tl.max(largest, axis=0).to(tl.int32, bitcast=True) >> 23) - 126 - 7
        tl.store(scale_ptr + row, scale.to(tl.int8))
        factor = ((127 - scale) << 23).to(tl.float32, bitcast=True)
        for start in range(0, d, BLOCK):
            at = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + row * d + at, mask=at < d, other=0.0) * factor
            code = (x + 12582912.0) - 12582912.0  # 1.5 * 2**23: the sum has no room for a fraction, ties go to even
            tl.store(codes_ptr + row * d + at, tl.minimum(code, 127.0).to(tl.int8), mask=at < d)


def launch_rows(x: Tensor, codes: Tensor, scale: Tensor) -> None:
    """row_codes_kernel for every row."""
    row_codes_kernel[(x.shape[0],)](x, codes, scale, x.shape[1], BLOCK=1024)
