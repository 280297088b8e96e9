"""Attention that sees some 64 x 64 blocks of all pairs, and which ones is data, as an indexer or a retriever would choose them.

q, k, v, o [heads, 64 * blocks, d] float32. draw [blocks, blocks] int32, 0 to 7: a block of queries sees a block of keys where
draw is 0, and its own; so about an eighth of the blocks and the diagonal. One call must read q, k, v and write o,
1024 * heads * blocks * d bytes, and do 16384 * heads * d operations for each block that is seen. Masked attention over all
pairs does blocks / (1 + (blocks - 1) / 8) times as many.
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

BLOCK = 64


def reference(q: Tensor, k: Tensor, v: Tensor, draw: Tensor) -> Tensor:
    """All pairs in float64, a block of queries at a time, those not seen masked out."""
    o, seen = torch.empty_like(q), _kept(draw).repeat_interleave(BLOCK, dim=1)
    for block in range(draw.shape[0]):
        rows = slice(block * BLOCK, (block + 1) * BLOCK)
        scores = (q[:, rows] @ k.transpose(1, 2) / math.sqrt(q.shape[2])).masked_fill(~seen[block], -math.inf)
        o[:, rows] = torch.softmax(scores, dim=2) @ v
    return o


def masked(q: Tensor, k: Tensor, v: Tensor, draw: Tensor, o: Tensor) -> None:
    """One call of SDPA, with the mask written out for all pairs: right for any pattern, and no list of blocks to make."""
    seen = _kept(draw).repeat_interleave(BLOCK, dim=0).repeat_interleave(BLOCK, dim=1)
    o.copy_(scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=seen)[0])


def row_by_row(q: Tensor, k: Tensor, v: Tensor, draw: Tensor, o: Tensor) -> None:
    """A block of queries at a time, with the blocks that it sees gathered beside each other: no mask. CPU only, since the host
    must know how many they are."""
    by_block = [tensor.unflatten(1, (-1, BLOCK)) for tensor in (k, v)]
    for block, row in enumerate(_kept(draw)):
        seen = torch.where(row)[0]
        near = (tensor.index_select(1, seen).flatten(1, 2)[None] for tensor in by_block)
        rows = slice(block * BLOCK, (block + 1) * BLOCK)
        o[:, rows] = scaled_dot_product_attention(q[None, :, rows], *near)[0]


def padded_rows(q: Tensor, k: Tensor, v: Tensor, draw: Tensor, o: Tensor) -> None:
    """All blocks of queries in one batch, each with as many gathered blocks as the one that sees most, and a mask. One wait."""
    count, seen = _lists(draw)
    most = int(count.max())
    near = (tensor.unflatten(1, (-1, BLOCK))[:, seen[:, :most]].flatten(2, 3) for tensor in (k, v))
    used = (torch.arange(most, device=q.device) < count.unsqueeze(1)).repeat_interleave(BLOCK, dim=1).unsqueeze(1)
    o.copy_(scaled_dot_product_attention(q.unflatten(1, (-1, BLOCK)), *near, attn_mask=used).flatten(1, 2))


def triton_blocks(q: Tensor, k: Tensor, v: Tensor, draw: Tensor, o: Tensor) -> None:
    """A program walks through its own list of blocks; nothing is gathered and nobody waits. d is a power of two. CUDA only."""
    heads, tokens, d = q.shape
    count, seen = _lists(draw)
    blocks_kernel[(tokens // BLOCK, heads)](q, k, v, count, seen, o, tokens, d**-0.5, D=d, BLOCK=BLOCK, KEYS=32, num_warps=8)


def library(q: Tensor, k: Tensor, v: Tensor, draw: Tensor, o: Tensor) -> None:
    """FlexAttention, given the lists as full blocks; its block mask is made anew in every call. CUDA only."""
    from torch.nn.attention.flex_attention import BlockMask

    count, seen = (tensor.int()[None, None] for tensor in _lists(draw))
    none, nothing = torch.zeros_like(count), torch.zeros_like(seen)
    tokens = (q.shape[1], q.shape[1])
    mask = BlockMask.from_kv_blocks(none, nothing, count, seen, BLOCK_SIZE=BLOCK, seq_lengths=tokens, compute_q_blocks=False)
    # Of its own accord it takes 128 queries at a time where d is small, which a block of 64 cannot be cut into.
    tiles = {"BLOCK_M": BLOCK, "BLOCK_N": 32} if q.shape[2] <= 64 else None
    o.copy_(_flex()(q[None], k[None], v[None], block_mask=mask, kernel_options=tiles)[0])


@functools.cache
def _flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def _kept(draw: Tensor) -> Tensor:
    """Which block of queries sees which block of keys, [blocks, blocks]."""
    return (draw == 0) | torch.eye(draw.shape[0], dtype=torch.bool, device=draw.device)


def _lists(draw: Tensor) -> tuple[Tensor, Tensor]:
    """For each block of queries, how many blocks it sees and which, those first, [blocks] and [blocks, blocks]."""
    kept = _kept(draw)
    return kept.sum(dim=1), torch.argsort(kept.int(), dim=1, descending=True, stable=True)


if triton is not None:

    @triton.jit
    def blocks_kernel(
        q_ptr, k_ptr, v_ptr, count_ptr, seen_ptr, o_ptr, tokens, scale, D: tl.constexpr, BLOCK: tl.constexpr, KEYS: tl.constexpr
    ):
        """A block of queries of a head against the blocks in its list, KEYS keys at a time; program (block, head)."""
        block = tl.program_id(0)
        blocks = tl.num_programs(0)
        d = tl.arange(0, D)
        tile = tl.arange(0, BLOCK)[:, None] * D + d[None, :]
        part = tl.arange(0, KEYS)[:, None] * D + d[None, :]
        head = tl.program_id(1).to(tl.int64) * tokens * D
        q = tl.load(q_ptr + head + block * BLOCK * D + tile) * scale
        high = tl.full((BLOCK,), -1.0e30, tl.float32)
        weight = tl.zeros((BLOCK,), tl.float32)
        mixed = tl.zeros((BLOCK, D), tl.float32)
        for i in range(tl.load(count_ptr + block).to(tl.int32)):
            near = head + tl.load(seen_ptr + block * blocks + i) * BLOCK * D
            for start in range(0, BLOCK, KEYS):
                at = near + start * D + part
                score = tl.dot(q, tl.trans(tl.load(k_ptr + at)), input_precision="ieee")
                peak = tl.maximum(high, tl.max(score, axis=1))
                p = tl.exp(score - peak[:, None])
                mixed *= tl.exp(high - peak)[:, None]
                weight = weight * tl.exp(high - peak) + tl.sum(p, axis=1)
                mixed = tl.dot(p, tl.load(v_ptr + at), mixed, input_precision="ieee")
                high = peak
        tl.store(o_ptr + head + block * BLOCK * D + tile, mixed / weight[:, None])
