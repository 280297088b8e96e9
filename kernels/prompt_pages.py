"""A chunk of a long prompt attends to what came before it, in pages, and to itself: gathered or read through the page table.

q, o [chunk, heads, d] float32. key_pages, value_pages [pages, 16, heads, d] float32; the chunk's own keys and values are in
them already. table [columns] int32: the page that holds tokens 16 * i to 16 * i + 15. position [1] int32: tokens before the
chunk; query i sees tokens 0 to position + i. position + chunk is at most 16 * columns. One call must read
8 * (position + chunk) * heads * d bytes of the cache and do 4 * chunk * (position + chunk / 2) * heads * d operations;
with scores in memory there are another 4 * chunk * 16 * columns * heads bytes, written and read several times.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

PAGE = 16


def reference(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, position: Tensor) -> Tensor:
    """A query at a time in float64, its pages looked up."""
    o, before = torch.empty_like(q), int(position)
    k, v = (pool[table.long()].flatten(0, 1) for pool in (key_pages, value_pages))
    for i in range(q.shape[0]):
        scores = torch.einsum("hd,thd->ht", q[i], k[: before + i + 1]) / math.sqrt(q.shape[2])
        o[i] = torch.einsum("ht,thd->hd", torch.softmax(scores, dim=1), v[: before + i + 1])
    return o


def explicit(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, position: Tensor, o: Tensor) -> None:
    """All pages of the table gathered; product, mask, softmax, product. Every step can be looked at, and nothing waits."""
    k, v = _gathered(key_pages, value_pages, table)
    scores = torch.matmul(q.transpose(0, 1), k.transpose(1, 2)) * q.shape[2] ** -0.5
    scores.masked_fill_(~_seen(q, k, position), -math.inf)
    o.copy_(torch.matmul(torch.softmax(scores, dim=2), v).transpose(0, 1))


def fused(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, position: Tensor, o: Tensor) -> None:
    """The same gather, then SDPA: isolates the scores' trips to memory."""
    k, v = _gathered(key_pages, value_pages, table)
    o.copy_(
        scaled_dot_product_attention(q.transpose(0, 1)[None], k[None], v[None], attn_mask=_seen(q, k, position))[0].transpose(
            0, 1
        )
    )


def trimmed(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, position: Tensor, o: Tensor) -> None:
    """As fused, with the pages in use alone: isolates the empty ones. The host must know the position. CPU only."""
    columns = -(-(int(position) + q.shape[0]) // PAGE)
    fused(q, key_pages, value_pages, table[:columns], position, o)


def triton_pages(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, position: Tensor, o: Tensor) -> None:
    """Table and position are read in the kernel: no gather, no scores in memory, no empty pages. d: a power of two. CUDA."""
    chunk, heads, d = q.shape
    prompt_kernel[(triton.cdiv(chunk, 64), heads)](
        q, key_pages, value_pages, table, position, o, chunk, heads, d**-0.5, D=d, ROWS=64, KEYS=16, PAGE=PAGE, num_warps=8
    )


def _gathered(key_pages: Tensor, value_pages: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values by token, [heads, 16 * columns, d]."""
    k, v = (pool.index_select(0, table).flatten(0, 1).transpose(0, 1) for pool in (key_pages, value_pages))
    return k, v


def _seen(q: Tensor, k: Tensor, position: Tensor) -> Tensor:
    """Which token is seen by which query, [chunk, tokens]."""
    return torch.arange(k.shape[1], device=q.device) <= (position + torch.arange(q.shape[0], device=q.device)).unsqueeze(1)


if triton is not None:

    @triton.jit
    def prompt_kernel(
        q_ptr, key_ptr, value_ptr, table_ptr, position_ptr, o_ptr, chunk, heads, scale,
        D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, PAGE: tl.constexpr,
    ):  # fmt: skip
        """ROWS queries of a head a program, KEYS tokens at a time up to the last one that any of them sees."""
        head = tl.program_id(1)
        before = tl.load(position_ptr)
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        d = tl.arange(0, D)
        at = (row[:, None] * heads + head) * D + d[None, :]
        q = tl.load(q_ptr + at, mask=row[:, None] < chunk, other=0.0) * scale
        high = tl.full((ROWS,), -1.0e30, tl.float32)
        weight = tl.zeros((ROWS,), tl.float32)
        mixed = tl.zeros((ROWS, D), tl.float32)
        end = before + tl.minimum((tl.program_id(0) + 1) * ROWS, chunk)
        for start in range(0, end, KEYS):
            token = start + tl.arange(0, KEYS)
            page = tl.load(table_ptr + token // PAGE, mask=token < end, other=0).to(tl.int64)
            place = ((page * PAGE + token % PAGE) * heads + head) * D
            key = tl.load(key_ptr + place[:, None] + d[None, :], mask=token[:, None] < end, other=0.0)
            value = tl.load(value_ptr + place[:, None] + d[None, :], mask=token[:, None] < end, other=0.0)
            score = tl.dot(q, tl.trans(key), input_precision="ieee")
            score = tl.where(token[None, :] <= before + row[:, None], score, -float("inf"))
            peak = tl.maximum(high, tl.max(score, axis=1))
            p = tl.exp(score - peak[:, None])
            fade = tl.exp(high - peak)
            mixed = tl.dot(p, value, mixed * fade[:, None], input_precision="ieee")
            weight = weight * fade + tl.sum(p, axis=1)
            high = peak
        tl.store(o_ptr + at, mixed / weight[:, None], mask=row[:, None] < chunk)
