"""One decoding step over a paged cache: each sequence's keys and values lie in pages that its page table names.

q, o [batch, heads, group, d]: `group` query heads share a head of the cache. key_pages, value_pages
[pages, 16, heads, d] float32. table [batch, columns] int32: the page that holds tokens 16 * i to 16 * i + 15 of a
sequence; pages may be shared, as a common prefix is. length [batch] int32, at least 1: tokens in the cache. One call must
read the used part of the cache, 8 * heads * d bytes a token; gathering it first reads, writes and reads all columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variants are for CUDA only
    triton = None

PAGE = 16
PARTS = 16
"""Pieces into which triton_split cuts a sequence's pages."""

_scratch: dict[tuple[object, ...], Tensor] = {}


def reference(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor) -> Tensor:
    """A sequence at a time, in float64."""
    o = torch.empty_like(q)
    for i, tokens in enumerate(length.tolist()):
        pages = table[i, : -(-tokens // PAGE)].long()
        k, v = (pool[pages].flatten(0, 1)[:tokens].transpose(0, 1) for pool in (key_pages, value_pages))
        o[i] = torch.softmax(q[i] @ k.transpose(1, 2) / math.sqrt(q.shape[3]), dim=2) @ v
    return o


def gathered(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor, o: Tensor) -> None:
    """All columns of the table gathered into one padded batch, then SDPA with a mask: no loop, and no wait for the lengths."""
    k, v = (pool[table.long()].flatten(1, 2).transpose(1, 2) for pool in (key_pages, value_pages))
    inside = torch.arange(k.shape[2], device=q.device) < length.view(-1, 1, 1, 1)
    o.copy_(scaled_dot_product_attention(q, k, v, attn_mask=inside))


def per_sequence(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor, o: Tensor) -> None:
    """Only the pages in use, a sequence at a time. The host must know the lengths, and starts each sequence. CPU only."""
    rows = table.long()
    for i, tokens in enumerate(length.tolist()):
        pages = rows[i, : -(-tokens // PAGE)]
        k, v = (pool.index_select(0, pages).flatten(0, 1)[:tokens].transpose(0, 1)[None] for pool in (key_pages, value_pages))
        o[i] = scaled_dot_product_attention(q[i : i + 1], k, v)[0]


def in_products(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor, o: Tensor) -> None:
    """As per_sequence, with the attention as two plain products and a softmax: isolates SDPA from the gathering. CPU only."""
    rows = table.long()
    for i, tokens in enumerate(length.tolist()):
        pages = rows[i, : -(-tokens // PAGE)]
        k, v = (pool.index_select(0, pages).flatten(0, 1)[:tokens].transpose(0, 1) for pool in (key_pages, value_pages))
        torch.bmm(torch.softmax(torch.bmm(q[i], k.transpose(1, 2)).mul_(q.shape[3] ** -0.5), dim=2), v, out=o[i])


def triton_paged(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor, o: Tensor) -> None:
    """The page table is read in the kernel and nothing is gathered. One program a sequence and head. CUDA only."""
    _launch(q, key_pages, value_pages, table, length, o, 1)


def triton_split(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor, o: Tensor) -> None:
    """As triton_paged, but 16 programs share a sequence's pages and a second kernel joins their answers. CUDA only."""
    _launch(q, key_pages, value_pages, table, length, o, PARTS)


if triton is not None:

    @triton.jit
    def pages_kernel(
        q_ptr, key_ptr, value_ptr, table_ptr, length_ptr, mix_ptr, top_ptr, total_ptr, heads, columns, scale,
        PAGE: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr,
    ):  # fmt: skip
        """Every PARTS-th page of a sequence for a head's GROUP queries: the mean over them, their highest score and weight."""
        head = tl.program_id(0)
        sequence = tl.program_id(1)
        part = tl.program_id(2)
        length = tl.load(length_ptr + sequence)
        d = tl.arange(0, D)
        group = tl.arange(0, GROUP)
        first = (sequence * heads + head) * GROUP
        q = tl.load(q_ptr + (first + group[:, None]) * D + d[None, :]) * scale
        top = tl.full((GROUP,), -1.0e30, tl.float32)
        total = tl.zeros((GROUP,), tl.float32)
        mix = tl.zeros((GROUP, D), tl.float32)
        for column in range(part, tl.cdiv(length, PAGE), PARTS):
            page = tl.load(table_ptr + sequence.to(tl.int64) * columns + column).to(tl.int64)
            place = tl.arange(0, PAGE)
            used = column * PAGE + place < length
            at = ((page * PAGE + place) * heads + head)[:, None] * D + d[None, :]
            k = tl.load(key_ptr + at, mask=used[:, None], other=0.0)
            v = tl.load(value_ptr + at, mask=used[:, None], other=0.0)
            score = tl.sum(q[:, None, :] * k[None, :, :], axis=2)
            score = tl.where(used[None, :], score, -float("inf"))
            highest = tl.maximum(top, tl.max(score, axis=1))
            p = tl.exp(score - highest[:, None])
            fade = tl.exp(top - highest)
            mix = mix * fade[:, None] + tl.sum(p[:, :, None] * v[None, :, :], axis=1)
            total = total * fade + tl.sum(p, axis=1)
            top = highest
        out = (first + group) * PARTS + part
        tl.store(mix_ptr + out[:, None] * D + d[None, :], mix / tl.maximum(total, 1.0e-30)[:, None])
        if PARTS > 1:
            tl.store(top_ptr + out, top)
            tl.store(total_ptr + out, total)

    @triton.jit
    def join_kernel(mix_ptr, top_ptr, total_ptr, o_ptr, D: tl.constexpr, PARTS: tl.constexpr):
        """The parts of one query, weighted by their share of the whole sum; a part without tokens has weight 0."""
        part = tl.program_id(0) * PARTS + tl.arange(0, PARTS)
        d = tl.arange(0, D)
        top = tl.load(top_ptr + part)
        weight = tl.load(total_ptr + part) * tl.exp(top - tl.max(top, axis=0))
        mix = tl.load(mix_ptr + part[:, None] * D + d[None, :])
        tl.store(o_ptr + tl.program_id(0) * D + d, tl.sum(mix * (weight / tl.sum(weight, axis=0))[:, None], axis=0))


def _launch(q: Tensor, key_pages: Tensor, value_pages: Tensor, table: Tensor, length: Tensor, o: Tensor, parts: int) -> None:
    """Both kernels, or the first alone for one part. group and d are powers of two."""
    batch, heads, group, d = q.shape
    key = (q.device, q.shape)
    if parts > 1 and key not in _scratch:
        _scratch[key] = q.new_empty(o.numel() // d * parts * (d + 2))  # parts' means, highest scores and weights
    queries = batch * heads * group * parts
    mix, top, total = (o, o, o) if parts == 1 else _scratch[key].split([queries * d, queries, queries])
    numbers = (heads, table.shape[1], 1 / math.sqrt(d))
    constants = {"PAGE": PAGE, "GROUP": group, "D": d, "PARTS": parts}
    pages_kernel[(heads, batch, parts)](q, key_pages, value_pages, table, length, mix, top, total, *numbers, **constants)
    if parts > 1:
        join_kernel[(batch * heads * group,)](mix, top, total, o, D=d, PARTS=parts)
