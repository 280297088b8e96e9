"""A block's four gradients, divided by the number of workers, one behind the other in one buffer: what a bucket is packed from.

gq [d, 3 * d], gb [3 * d], gu [d, 4 * d], gs [4 * d] and flat [7 * d * d + 7 * d], float32; the order in flat is that of the
parameters. One call must read and write each gradient once, 8 bytes an element. Packing and scaling apart move 16.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

SCALE = 1.0 / 8
"""Of eight workers; a power of two, as for most numbers of workers, so that nothing is rounded."""


def reference(gq: Tensor, gb: Tensor, gu: Tensor, gs: Tensor) -> Tensor:
    """The scaled gradients in float64."""
    return torch.cat([g.flatten() for g in (gq, gb, gu, gs)]) * SCALE


def cat_then_scale(gq: Tensor, gb: Tensor, gu: Tensor, gs: Tensor, flat: Tensor) -> None:
    """Packed by one cat, scaled in place by one mul. Reasonable: two calls whatever the number of parameters, no temporary."""
    torch.cat([gq.view(-1), gb, gu.view(-1), gs], out=flat)
    flat.mul_(SCALE)


def copied(gq: Tensor, gb: Tensor, gu: Tensor, gs: Tensor, flat: Tensor) -> None:
    """A copy a gradient instead of cat: isolates the number of launches. Scaled as before."""
    for part, g in _parts(flat, gq, gb, gu, gs):
        part.copy_(g.view(-1))
    flat.mul_(SCALE)


def scaled_into_place(gq: Tensor, gb: Tensor, gu: Tensor, gs: Tensor, flat: Tensor) -> None:
    """A mul a gradient, straight into its place in flat: each element is read and written once, in four calls."""
    for part, g in _parts(flat, gq, gb, gu, gs):
        torch.mul(g.view(-1), SCALE, out=part)


def foreach(gq: Tensor, gb: Tensor, gu: Tensor, gs: Tensor, flat: Tensor) -> None:
    """torch's multi-tensor copy, with which fully sharded training packs, then one mul."""
    parts = _parts(flat, gq, gb, gu, gs)
    torch._foreach_copy_([part for part, _ in parts], [g.view(-1) for _, g in parts])
    flat.mul_(SCALE)


def _parts(flat: Tensor, *gradients: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(its place in flat, gradient) for each."""
    return list(zip(flat.split([g.numel() for g in gradients]), gradients, strict=True))


if triton is not None:

    @triton.jit
    def pack_kernel(gq_ptr, gb_ptr, gu_ptr, gs_ptr, flat_ptr, first, second, third, n, scale, BLOCK: tl.constexpr):
        """BLOCK neighbouring elements of flat a program; first, second and third are where the later gradients begin."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        g = tl.load(gq_ptr + at, mask=at < first, other=0.0)
        g += tl.load(gb_ptr + (at - first), mask=(at >= first) & (at < second), other=0.0)
        g += tl.load(gu_ptr + (at - second), mask=(at >= second) & (at < third), other=0.0)
        g += tl.load(gs_ptr + (at - third), mask=(at >= third) & (at < n), other=0.0)
        tl.store(flat_ptr + at, g * scale, mask=at < n)


def triton_pack(gq: Tensor, gb: Tensor, gu: Tensor, gs: Tensor, flat: Tensor) -> None:
    """One launch: loads that are masked off move nothing. n below 2**31 - 1024."""
    first = gq.numel()
    second = first + gb.numel()
    third = second + gu.numel()
    n = third + gs.numel()
    pack_kernel[(triton.cdiv(n, 1024),)](gq, gb, gu, gs, flat, first, second, third, n, SCALE, BLOCK=1024)
