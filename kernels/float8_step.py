"""The three products of a linear layer's training step in float8: simulated, or done by hardware?

x [n, d], w [m, d] (a weight), gy [n, m] (the gradient of the answer), and y [n, m], gx [n, d], gw [m, d], bfloat16. x and w
become float8_e4m3fn and gy float8_e5m2, each tensor with one power of two that brings its largest number to 128 to 256 (e4m3fn)
or to 16384 to 32768 (e5m2). y = x w^T, gx = gy w and gw = gy^T x of these rounded numbers, summed in float32. One call must
read and write 4 * (n * d + n * m + m * d) bytes, for 6 * n * m * d operations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def reference(x: Tensor, w: Tensor, gy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Products in float64 of the numbers that float8 stands for. Scaling is exact, so rounding is the same in any precision."""
    numbers = []
    for tensor, dtype in ((x, E4M3), (w, E4M3), (gy, E5M2)):
        codes, back = _narrow(tensor.float(), dtype)
        numbers.append(codes.double() * back.double())
    a, b, c = numbers
    return a @ b.t(), c @ b, c.t() @ a


def simulated(x: Tensor, w: Tensor, gy: Tensor, y: Tensor, gx: Tensor, gw: Tensor) -> None:
    """Round to float8 and back to bfloat16, then bfloat16 products: how float8 training is tried out on any device."""
    a, b, c = _wide(x, E4M3), _wide(w, E4M3), _wide(gy, E5M2)
    torch.mm(a, b.t(), out=y)
    torch.mm(c, b, out=gx)
    torch.mm(c.t(), a, out=gw)


def forward_alone(x: Tensor, w: Tensor, gy: Tensor, y: Tensor, gx: Tensor, gw: Tensor) -> None:
    """y from float8 codes, whose depths are neighbours as they lie; the two gradients simulated. Isolates the transposes."""
    (a, a_back), (b, b_back) = _narrow(x, E4M3), _narrow(w, E4M3)
    y.copy_(_multiply(a, b.t(), a_back, b_back))
    c, wide = _wide(gy, E5M2), b.to(w.dtype) * b_back.to(w.dtype)
    torch.mm(c, wide, out=gx)
    torch.mm(c.t(), a.to(x.dtype) * a_back.to(x.dtype), out=gw)


def float8_products(x: Tensor, w: Tensor, gy: Tensor, y: Tensor, gx: Tensor, gw: Tensor) -> None:
    """All three from codes. Float8 units take a product's depth as neighbours only, so three of six operands are transposed."""
    (a, a_back), (b, b_back), (c, c_back) = _narrow(x, E4M3), _narrow(w, E4M3), _narrow(gy, E5M2)
    y.copy_(_multiply(a, b.t(), a_back, b_back))
    gx.copy_(_multiply(c, b.t().contiguous().t(), c_back, b_back))
    gw.copy_(_multiply(c.t().contiguous(), a.t().contiguous().t(), c_back, a_back))


def library(x: Tensor, w: Tensor, gy: Tensor, y: Tensor, gx: Tensor, gw: Tensor) -> None:
    """float8_products through torch.compile, which fuses scaling and rounding into few passes. CUDA only."""
    _compiled()(x, w, gy, y, gx, gw)


@functools.cache
def _compiled() -> Callable[..., None]:
    return torch.compile(float8_products, dynamic=False)


def _multiply(left: Tensor, right: Tensor, left_back: Tensor, right_back: Tensor) -> Tensor:
    """A product of codes in bfloat16, its sums handed on to float32 registers every few steps."""
    return torch._scaled_mm(left, right, left_back, right_back, out_dtype=torch.bfloat16, use_fast_accum=False)


def _narrow(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Codes of a tensor, and the float32 power of two that its codes must be multiplied by, by its bits and so exactly."""
    exponent = torch.frexp(x.abs().amax().float()).exponent - (8 if dtype == E4M3 else 15)
    forth, back = (((power + 127) << 23).view(torch.float32) for power in (-exponent, exponent))
    return (x * forth.to(x.dtype)).to(dtype), back


def _wide(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor's float8 numbers in bfloat16, which holds them exactly."""
    codes, back = _narrow(x, dtype)
    return codes.to(x.dtype) * back.to(x.dtype)
