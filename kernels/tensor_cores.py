"""c = a @ b whose answer is kept in float16: how exactly must the products be made?

a [m, k], b [k, n] float32, c [m, n] float16. One call must move 4 * (m * k + k * n) + 2 * m * n bytes for 2 * m * n * k
operations. The answer is rounded to 11 bits whatever the arithmetic, so it declares that 11 or even 8 bits a factor are
enough: TF32 has 11 (and the exponent of float32), bfloat16 has 8, float16 has 11 (up to 65504). Sums are in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The product in float64."""
    return a @ b


def single(a: Tensor, b: Tensor, c: Tensor) -> None:
    """Products in float32, as torch does by default, and one rounding at the end."""
    c.copy_(torch.mm(a, b))


def tf32(a: Tensor, b: Tensor, c: Tensor) -> None:
    """Tensor cores that read float32 and multiply its first 11 bits, asked for in this call alone. CUDA only."""
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        c.copy_(torch.mm(a, b))
    finally:
        products.fp32_precision = before


def bfloat(a: Tensor, b: Tensor, c: Tensor) -> None:
    """The factors rounded to bfloat16 first: two more passes over them, half the bytes for the product.

    On CUDA the product comes out in float32, as it was summed. On a CPU torch has it in bfloat16 only, rounded to 8 bits.
    """
    if a.is_cuda:
        c.copy_(torch.mm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32))
    else:
        c.copy_(torch.mm(a.bfloat16(), b.bfloat16()))


def half(a: Tensor, b: Tensor, c: Tensor) -> None:
    """The factors rounded to float16, and the product straight into c. CUDA only: few CPUs multiply float16."""
    torch.mm(a.half(), b.half(), out=c)
