"""A momentum step whose state is kept in int8, a scale for 64 numbers: how often does a number travel to be updated?

p, p1 [n] float32 (parameters, old and new), g [n] bfloat16 (gradients), m, m1 [n] int8 and s, s1 [n / 64] int8: the state,
whose number is code * 2**scale of its block. Momentum is 7/8 of the old plus 1/8 of g, p1 = p - momentum / 16; then momentum
becomes codes again, with the smallest power of two for which a block's are within +-128, rounded, and 128 made 127. One call
must read p, g, m, s and write p1, m1, s1: 12.03 * n bytes, against 18 * n with a float32 state, for about 8 * n operations.
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

BLOCK = 64
RATE = 1 / 16
BLOCKS_AT_ONCE = 1024
"""Blocks of a piece of `in_pieces`: each of its four float32 tensors takes 256 KiB."""

_rooms: dict[tuple[object, ...], list[Tensor]] = {}


def reference(p: Tensor, g: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The step in float64. Momentum is a float32 number: both its terms are exact in float32, so it is rounded once, or not."""
    momentum = 0.875 * m.view(-1, BLOCK) * _number(s).double().unsqueeze(1) + 0.125 * g.double().view(-1, BLOCK)
    momentum = momentum.float().double()
    scale = torch.frexp(momentum.abs().amax(1)).exponent - 7
    codes = (momentum * _number(-scale).double().unsqueeze(1)).round().clamp(max=127)
    return p - RATE * momentum.flatten(), codes.flatten().to(torch.int8), scale.to(torch.int8)


def as_written(p: Tensor, g: Tensor, m: Tensor, s: Tensor, p1: Tensor, m1: Tensor, s1: Tensor) -> None:
    """Make the state float32, take the step, make it int8 again: each line one operation over all parameters."""
    momentum = m.view(-1, BLOCK) * _number(s).unsqueeze(1)
    momentum = 0.875 * momentum + 0.125 * g.float().view(-1, BLOCK)
    torch.sub(p, momentum.flatten(), alpha=RATE, out=p1)
    scale = torch.frexp(momentum.abs().amax(1)).exponent - 7
    codes = (momentum * _number(-scale).unsqueeze(1)).round().clamp(max=127)
    m1.copy_(codes.flatten())
    s1.copy_(scale)


def in_room(p: Tensor, g: Tensor, m: Tensor, s: Tensor, p1: Tensor, m1: Tensor, s1: Tensor) -> None:
    """The same in two float32 rooms that are kept, in place: isolates temporaries."""
    _step(p, g, m, s, p1, m1, s1, *_kept(p))


def in_pieces(p: Tensor, g: Tensor, m: Tensor, s: Tensor, p1: Tensor, m1: Tensor, s1: Tensor) -> None:
    """in_room on 1,024 blocks at a time: the float32 state never leaves a cache. CPU only: on a GPU a piece is too small."""
    size = BLOCK * BLOCKS_AT_ONCE
    rooms = [room[:size] for room in _kept(p)]
    long = [tensor.split(size) for tensor in (p, g, m, p1, m1)]
    for piece, scale, new in zip(zip(*long, strict=True), s.split(BLOCKS_AT_ONCE), s1.split(BLOCKS_AT_ONCE), strict=True):
        a, b, c, d, e = piece
        _step(a, b, c, scale, d, e, new, *(room[: a.shape[0]] for room in rooms))


def library(p: Tensor, g: Tensor, m: Tensor, s: Tensor, p1: Tensor, m1: Tensor, s1: Tensor) -> None:
    """as_written through torch.compile. CUDA only: a CPU compiles for long."""
    _compiled()(p, g, m, s, p1, m1, s1)


@functools.cache
def _compiled() -> Callable[..., None]:
    return torch.compile(as_written, dynamic=False)


def _number(exponent: Tensor) -> Tensor:
    """2**exponent, exactly, float32."""
    bits = exponent.to(torch.int32).add_(127)
    return bits.bitwise_left_shift_(23).view(torch.float32)


def _step(p: Tensor, g: Tensor, m: Tensor, s: Tensor, p1: Tensor, m1: Tensor, s1: Tensor, room: Tensor, spare: Tensor) -> None:
    """The step with the float32 momentum in `room` [n]; what is in `room` and `spare` [n] before does not matter."""
    blocks = room.view(-1, BLOCK)
    room.copy_(m)
    blocks.mul_(_number(s).mul_(0.875).unsqueeze(1))
    room.add_(spare.copy_(g), alpha=0.125)
    torch.sub(p, room, alpha=RATE, out=p1)
    torch.abs(room, out=spare)
    scale = torch.frexp(spare.view(-1, BLOCK).amax(1)).exponent.sub_(7)
    blocks.mul_(_number(-scale).unsqueeze(1)).round_().clamp_(max=127)
    m1.copy_(room)
    s1.copy_(scale)


def _kept(p: Tensor) -> list[Tensor]:
    """Two rooms for a float32 number of each parameter, kept between calls and written before they are read."""
    key = (p.device, p.shape)
    if key not in _rooms:
        _rooms[key] = [torch.zeros_like(p) for _ in range(2)]
    return _rooms[key]


if triton is not None:

    @triton.jit
    def momentum_kernel(p_ptr, g_ptr, m_ptr, s_ptr, p1_ptr, m1_ptr, s1_ptr, blocks, rate, N: tl.constexpr, BLOCK: tl.constexpr):
        """N blocks a program, each number read and written once."""
        block = tl.program_id(0) * N + tl.arange(0, N)
        inside = block < blocks
        at = block.to(tl.int64)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
        bits = tl.load(s_ptr + block, mask=inside, other=0).to(tl.int32)
        old = (
            tl.load(m_ptr + at, mask=inside[:, None], other=0).to(tl.float32)
            * ((bits + 127) << 23).to(tl.float32, bitcast=True)[:, None]
        )
        momentum = 0.875 * old + 0.125 * tl.load(g_ptr + at, mask=inside[:, None], other=0.0).to(tl.float32)
        p = tl.load(p_ptr + at, mask=inside[:, None], other=0.0)
        tl.store(p1_ptr + at, p - rate * momentum, mask=inside[:, None])
        scale = (tl.max(tl.abs(momentum), axis=1).to(tl.int32, bitcast=True) >> 23) - 133
        code = momentum * ((127 - scale) << 23).to(tl.float32, bitcast=True)[:, None]
        code = (code + 12582912.0) - 12582912.0  # 1.5 * 2**23: the sum has no room for a fraction, ties go to even
        tl.store(m1_ptr + at, tl.minimum(code, 127.0).to(tl.int8), mask=inside[:, None])
        tl.store(s1_ptr + block, scale.to(tl.int8), mask=inside)


def triton_step(p: Tensor, g: Tensor, m: Tensor, s: Tensor, p1: Tensor, m1: Tensor, s1: Tensor) -> None:
    """One launch, no float32 state in memory. CUDA only."""
    blocks = s.shape[0]
    momentum_kernel[(triton.cdiv(blocks, 16),)](p, g, m, s, p1, m1, s1, blocks, RATE, N=16, BLOCK=BLOCK)
