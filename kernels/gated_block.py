"""The feed-forward half of a transformer layer, y = x + (silu(a) * b) down with [a, b] = norm(x) up. Who fuses what?

x, y [n, d], gain [d], up [d, 2 * h], down [h, d], float32; norm(x) = x / sqrt(mean over d of x**2 + 1e-6) * gain. One call
must read x and the weights and write y, 4 * (2 * n * d + 3 * d * h) bytes, for 6 * n * d * h operations in two products.
Around the products lie nine small operations, which read and write x three times and the hidden values three times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

EPSILON = 1e-6

_scratch: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}


def reference(x: Tensor, gain: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The block in float64."""
    return x + _gate(_norm(x, gain) @ up) @ down


def eager(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """The block as model code spells it, with the residual added by the last product."""
    torch.addmm(x, _gate(_norm(x, gain) @ up), down, out=y)


def rms_normed(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """With torch's own rms_norm for the five operations of the norm."""
    torch.addmm(x, _gate(rms_norm(x, gain.shape, gain, EPSILON) @ up), down, out=y)


def in_place(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """As rms_normed, with the hidden values in buffers that are kept: isolates allocation."""
    both, hidden = _buffers(x, down.shape[0])
    torch.mm(rms_norm(x, gain.shape, gain, EPSILON), up, out=both)
    a, b = both.chunk(2, dim=1)
    torch.mul(torch.ops.aten.silu_(a), b, out=hidden)
    torch.addmm(x, hidden, down, out=y)


def triton_regions(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """One Triton kernel for the norm and one for the gate, cuBLAS for the products. CUDA only, d at most 65,536."""
    (n, d), h = x.shape, down.shape[0]
    both, hidden = _buffers(x, h)
    norm_kernel[(n,)](x, gain, y, d, EPSILON, BLOCK=triton.next_power_of_2(d))
    torch.mm(y, up, out=both)  # y holds the normed x until the last product overwrites it
    gate_kernel[(n, triton.cdiv(h, 1024))](both, hidden, h, BLOCK=1024)
    torch.addmm(x, hidden, down, out=y)


def compiled_regions(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """torch.compile for the norm and for the gate, each by itself: the compiler's share of triton_regions. CUDA only."""
    norm, gate, _ = _compiled()
    torch.addmm(x, gate(norm(x, gain) @ up), down, out=y)


def library(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """torch.compile for the whole block: one set of guards instead of two, the same fusions if it finds them. CUDA only."""
    _compiled()[2](x, gain, up, down, y)


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + EPSILON) * gain


def _gate(both: Tensor) -> Tensor:
    a, b = both.chunk(2, dim=1)
    return silu(a) * b


@functools.cache
def _compiled() -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., None]]:
    return torch.compile(_norm, dynamic=False), torch.compile(_gate, dynamic=False), torch.compile(eager, dynamic=False)


def _buffers(x: Tensor, h: int) -> tuple[Tensor, Tensor]:
    """Room for the hidden values before and after the gate, kept between calls and written before it is read."""
    key = (x.device, x.shape[0], h)
    if key not in _scratch:
        _scratch[key] = (x.new_zeros(x.shape[0], 2 * h), x.new_zeros(x.shape[0], h))
    return _scratch[key]


if triton is not None:

    @triton.jit
    def norm_kernel(x_ptr, gain_ptr, y_ptr, d, epsilon, BLOCK: tl.constexpr):
        """One row a program, in registers."""
        column = tl.arange(0, BLOCK)
        row = tl.program_id(0).to(tl.int64) * d
        x = tl.load(x_ptr + row + column, mask=column < d, other=0.0)
        gain = tl.load(gain_ptr + column, mask=column < d, other=0.0)
        tl.store(y_ptr + row + column, x * tl.rsqrt(tl.sum(x * x, axis=0) / d + epsilon) * gain, mask=column < d)

    @triton.jit
    def gate_kernel(both_ptr, hidden_ptr, h, BLOCK: tl.constexpr):
        """BLOCK neighbouring hidden values of one row a program; a row of `both` is 2 * h long, a before b."""
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        a = tl.load(both_ptr + row * 2 * h + column, mask=column < h, other=0.0)
        b = tl.load(both_ptr + row * 2 * h + h + column, mask=column < h, other=0.0)
        tl.store(hidden_ptr + row * h + column, a / (1.0 + tl.exp(-a)) * b, mask=column < h)
