"""Rotary positions for queries and keys, and the write of keys and values into a ring: y = a c - b s, b c + a s.

q, k, v, q1, keys, values [tokens, heads, d], cos, sin [positions, d / 2] (tables, weights), all float32, start
[1] int32. Token t has position start + t, is rotated by that row of the tables (first half of d with second half) and
goes to place (start + t) % tokens of the rings. One call must read three and write three tensors,
24 * tokens * heads * d bytes, and a little of the tables. As the formula reads it moves several times as much.
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


def reference(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rotation in float64, and the rings as gathers: place p holds token (p - start) % tokens."""
    position = start + torch.arange(q.shape[0], device=q.device)
    c, s = cos[position].unsqueeze(1), sin[position].unsqueeze(1)
    token = (torch.arange(q.shape[0], device=q.device) - start) % q.shape[0]
    turned = []
    for x in (q, k):
        a, b = x.chunk(2, dim=2)
        turned.append(torch.cat((a * c - b * s, b * c + a * s), dim=2))
    return turned[0], turned[1][token], v[token]


def formula(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: Tensor, q1: Tensor, keys: Tensor, values: Tensor
) -> None:
    """x * cos + turn(x) * sin on the whole width, then two copies by index: as most published models spell it."""
    position, place = _positions(q, start)
    c, s = (torch.cat((table[position],) * 2, dim=1).unsqueeze(1) for table in (cos, sin))
    torch.add(q * c, _turned(q) * s, out=q1)
    keys.index_copy_(0, place, k * c + _turned(k) * s)
    values.index_copy_(0, place, v)


def halves(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: Tensor, q1: Tensor, keys: Tensor, values: Tensor
) -> None:
    """Each half written where it belongs, without turning and doubling: isolates the concatenations."""
    position, place = _positions(q, start)
    c, s = cos[position].unsqueeze(1), sin[position].unsqueeze(1)
    _rotate(q, c, s, q1)
    turned = torch.empty_like(k)
    _rotate(k, c, s, turned)
    keys.index_copy_(0, place, turned)
    values.index_copy_(0, place, v)


def two_runs(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: Tensor, q1: Tensor, keys: Tensor, values: Tensor
) -> None:
    """As halves, straight into the ring, which is two runs of places. The host must know where they meet. CPU only."""
    tokens, first = q.shape[0], int(start)
    c, s = (table[first : first + tokens].unsqueeze(1) for table in (cos, sin))
    _rotate(q, c, s, q1)
    place = first % tokens
    for run, there in ((slice(0, tokens - place), slice(place, tokens)), (slice(tokens - place, tokens), slice(0, place))):
        _rotate(k[run], c[run], s[run], keys[there])
        values[there] = v[run]


def library(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: Tensor, q1: Tensor, keys: Tensor, values: Tensor
) -> None:
    """The first version through torch.compile. CUDA only: a CPU compiles for long."""
    _compiled()(q, k, v, cos, sin, start, q1, keys, values)


@functools.cache
def _compiled() -> Callable[..., None]:
    return torch.compile(formula, dynamic=False)


def _positions(q: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Each token's position and its place in the ring."""
    position = start.long() + torch.arange(q.shape[0], device=q.device)
    return position, position % q.shape[0]


def _turned(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=2)
    return torch.cat((-b, a), dim=2)


def _rotate(x: Tensor, c: Tensor, s: Tensor, out: Tensor) -> None:
    """Both halves of x into `out`; c and s are half as wide."""
    (a, b), (low, high) = x.chunk(2, dim=2), out.chunk(2, dim=2)
    torch.mul(a, c, out=low).addcmul_(b, s, value=-1)
    torch.mul(b, c, out=high).addcmul_(a, s)


if triton is not None:

    @triton.jit
    def rope_kernel(
        q_ptr, k_ptr, v_ptr, cos_ptr, sin_ptr, start_ptr, q1_ptr, key_ptr, value_ptr, tokens, heads,
        HALF: tl.constexpr, HEADS: tl.constexpr,
    ):  # fmt: skip
        """One token a program, all its heads: both halves of q, k and v in registers, the table's row read once."""
        token = tl.program_id(0)
        position = tl.load(start_ptr) + token
        column = tl.arange(0, HALF)
        head = tl.arange(0, HEADS)
        inside = head[:, None] < heads
        low = head[:, None] * 2 * HALF + column[None, :]
        c = tl.load(cos_ptr + position * HALF + column)[None, :]
        s = tl.load(sin_ptr + position * HALF + column)[None, :]
        here = token.to(tl.int64) * heads * 2 * HALF
        there = (position % tokens).to(tl.int64) * heads * 2 * HALF
        a = tl.load(q_ptr + here + low, mask=inside)
        b = tl.load(q_ptr + here + low + HALF, mask=inside)
        tl.store(q1_ptr + here + low, a * c - b * s, mask=inside)
        tl.store(q1_ptr + here + low + HALF, b * c + a * s, mask=inside)
        a = tl.load(k_ptr + here + low, mask=inside)
        b = tl.load(k_ptr + here + low + HALF, mask=inside)
        tl.store(key_ptr + there + low, a * c - b * s, mask=inside)
        tl.store(key_ptr + there + low + HALF, b * c + a * s, mask=inside)
        tl.store(value_ptr + there + low, tl.load(v_ptr + here + low, mask=inside), mask=inside)
        tl.store(value_ptr + there + low + HALF, tl.load(v_ptr + here + low + HALF, mask=inside), mask=inside)


def triton_fused(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: Tensor, q1: Tensor, keys: Tensor, values: Tensor
) -> None:
    """One launch, everything read and written once. d is a power of two. CUDA only."""
    tokens, heads, d = q.shape
    constants = {"HALF": d // 2, "HEADS": triton.next_power_of_2(heads)}
    rope_kernel[(tokens,)](q, k, v, cos, sin, start, q1, keys, values, tokens, heads, **constants)
