"""One decoding step with a sliding window: a sequence at position p sees the cache from p - window + 1 to p.

q, o [batch, heads, d], keys, values [batch, heads, tokens, d] float32, position [batch] int32 below `tokens`: every
sequence is somewhere else. The window is an eighth of the cache, tokens // 8. One call must read it,
8 * batch * heads * tokens // 8 * d bytes; with a mask over the whole cache it reads eight times as much.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None


def reference(q: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
    """The formula in float64, a sequence at a time."""
    o = torch.empty_like(q)
    for i, p in enumerate(position.tolist()):
        seen = slice(max(0, p - keys.shape[2] // 8 + 1), p + 1)
        scores = torch.einsum("hd,htd->ht", q[i], keys[i, :, seen]) / math.sqrt(q.shape[2])
        o[i] = torch.einsum("ht,htd->hd", torch.softmax(scores, dim=1), values[i, :, seen])
    return o


def masked(q: Tensor, keys: Tensor, values: Tensor, position: Tensor, o: Tensor) -> None:
    """SDPA over the whole cache with a mask of the window: one call, for any positions, without asking where they are."""
    behind = position.view(-1, 1, 1, 1) - torch.arange(keys.shape[2], device=q.device)
    seen = (behind >= 0) & (behind < keys.shape[2] // 8)
    o.copy_(scaled_dot_product_attention(q.unsqueeze(2), keys, values, attn_mask=seen).squeeze(2))


def gathered(q: Tensor, keys: Tensor, values: Tensor, position: Tensor, o: Tensor) -> None:
    """The windows gathered into a small batch first, with a mask for those that begin before token 0."""
    window = keys.shape[2] // 8
    token = position.long().unsqueeze(1) - window + 1 + torch.arange(window, device=q.device)
    index = token.clamp(min=0).view(-1, 1, window, 1).expand(-1, *keys.shape[1:2], -1, keys.shape[3])
    seen = (token >= 0).view(-1, 1, 1, window)
    near = (cache.gather(2, index) for cache in (keys, values))
    o.copy_(scaled_dot_product_attention(q.unsqueeze(2), *near, attn_mask=seen).squeeze(2))


def sliced(q: Tensor, keys: Tensor, values: Tensor, position: Tensor, o: Tensor) -> None:
    """A view of each sequence's window: no mask and no copy, but one call a sequence, and the host must know p. CPU only."""
    for i, p in enumerate(position.tolist()):
        seen = slice(max(0, p - keys.shape[2] // 8 + 1), p + 1)
        near = (cache[i : i + 1, :, seen] for cache in (keys, values))
        o[i] = scaled_dot_product_attention(q[i : i + 1].unsqueeze(2), *near)[0, :, 0]


def library(q: Tensor, keys: Tensor, values: Tensor, position: Tensor, o: Tensor) -> None:
    """FlexAttention's decoding kernel; its block mask is made anew from the positions in every call. CUDA only."""
    attend, blocks = _compiled()
    mask = blocks(position, keys.shape[2])
    o.copy_(attend(q.unsqueeze(2), keys, values, block_mask=mask).squeeze(2))


@functools.cache
def _compiled() -> tuple[Callable[..., Tensor], Callable[[Tensor, int], object]]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def blocks(position: Tensor, tokens: int) -> object:
        def seen(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return (j <= position[b]) & (j > position[b] - tokens // 8)

        return create_block_mask(seen, position.shape[0], None, 1, tokens, device=position.device)

    return torch.compile(flex_attention, dynamic=False), torch.compile(blocks, dynamic=False)


if triton is not None:

    @triton.jit
    def window_kernel(
        q_ptr, key_ptr, value_ptr, position_ptr, o_ptr, heads, tokens, window, scale, D: tl.constexpr, BLOCK: tl.constexpr
    ):
        """One head of one sequence a program: BLOCK tokens of the window at a time, from its own first to its last."""
        pair = tl.program_id(0)
        last = tl.load(position_ptr + pair // heads)
        first = tl.maximum(last - window + 1, 0)
        column = tl.arange(0, D)
        cache = pair.to(tl.int64) * tokens * D
        q = tl.load(q_ptr + pair * D + column) * scale
        high = -1.0e30
        weight = 0.0
        mixed = tl.zeros((D,), tl.float32)
        for start in range(first, last + 1, BLOCK):
            token = start + tl.arange(0, BLOCK)
            inside = token[:, None] <= last
            key = tl.load(key_ptr + cache + token[:, None] * D + column[None, :], mask=inside, other=0.0)
            value = tl.load(value_ptr + cache + token[:, None] * D + column[None, :], mask=inside, other=0.0)
            score = tl.where(token <= last, tl.sum(key * q[None, :], axis=1), -float("inf"))
            peak = tl.maximum(high, tl.max(score, axis=0))
            p = tl.exp(score - peak)
            mixed = mixed * tl.exp(high - peak) + tl.sum(p[:, None] * value, axis=0)
            weight = weight * tl.exp(high - peak) + tl.sum(p, axis=0)
            high = peak
        tl.store(o_ptr + pair * D + column, mixed / weight)


def triton_window(q: Tensor, keys: Tensor, values: Tensor, position: Tensor, o: Tensor) -> None:
    """One launch that reads the windows and nothing else. d is a power of two. CUDA only."""
    batch, heads, tokens, d = keys.shape
    numbers = (heads, tokens, tokens // 8, 1 / math.sqrt(d))
    window_kernel[(batch * heads,)](q, keys, values, position, o, *numbers, D=d, BLOCK=64)
