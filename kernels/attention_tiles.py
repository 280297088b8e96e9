"""Attention of every token to every token, o = softmax(q k^T / sqrt(d)) v, with the scores in memory or in a tile.

q, k, v, o [heads, tokens, d], float32, products in true float32. One call must read q, k, v and write o,
16 * heads * tokens * d bytes, for 4 * heads * tokens**2 * d operations. With the scores in memory it moves
16 * heads * tokens**2 bytes more: they are written, read and written by the softmax, and read.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

BLOCK_ROWS = 64

_scratch: dict[tuple[object, ...], Tensor] = {}


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula in float64, a head at a time."""
    heads = zip(q, k, v, strict=True)
    return torch.stack([torch.softmax(a @ b.t() / math.sqrt(a.shape[1]), dim=1) @ c for a, b, c in heads])


def explicit(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """The formula as it is written, with the scale on the smaller operand: two products and a softmax, the last into o."""
    scores = torch.bmm(q / math.sqrt(q.shape[2]), k.transpose(1, 2))
    torch.bmm(torch.softmax(scores, dim=2), v, out=o)


def reused(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """The same with one buffer for scores and probabilities, the scale inside the product: isolates allocation."""
    _attend(q, k, v, o, _buffer(q, q.shape[1]))


def row_blocks(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """As reused, 64 queries of one head at a time: their scores are still in the cache for the softmax."""
    buffer = _buffer(q[:1], BLOCK_ROWS)
    for head in range(q.shape[0]):
        one = slice(head, head + 1)
        for start in range(0, q.shape[1], BLOCK_ROWS):
            rows = q[one, start : start + BLOCK_ROWS]
            _attend(rows, k[one], v[one], o[one, start : start + BLOCK_ROWS], buffer[:, : rows.shape[1]])


def library(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What a user would call. It returns its output, so the runner copies it, inside the timing."""
    return torch.nn.functional.scaled_dot_product_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)).squeeze(0)


def _attend(q: Tensor, k: Tensor, v: Tensor, o: Tensor, scores: Tensor) -> None:
    """The formula for these queries, with their scores in `scores`. beta is 0: what was in there is not read."""
    torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=1 / math.sqrt(q.shape[2]), out=scores)
    torch.softmax(scores, dim=2, out=scores)
    torch.bmm(scores, v, out=o)


def _buffer(q: Tensor, rows: int) -> Tensor:
    """Scratch for the scores of `rows` queries a head, kept between calls and written before it is read."""
    key = (q.device, q.shape, rows)
    if key not in _scratch:
        _scratch[key] = q.new_empty(q.shape[0], rows, q.shape[1])
    return _scratch[key]


if triton is not None:

    @triton.jit
    def tile_kernel(q_ptr, k_ptr, v_ptr, o_ptr, tokens, scale, D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
        """ROWS queries of one head a program. Scores live in a tile; when a larger one turns up, the sums are rescaled."""
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        column = tl.arange(0, D)
        head = tl.program_id(1).to(tl.int64) * tokens * D
        at = head + row[:, None] * D + column[None, :]
        q = tl.load(q_ptr + at, mask=row[:, None] < tokens, other=0.0) * scale
        largest = tl.full((ROWS,), -float("inf"), tl.float32)
        weight = tl.zeros((ROWS,), tl.float32)
        mixture = tl.zeros((ROWS, D), tl.float32)
        for start in range(0, tokens, KEYS):
            key = start + tl.arange(0, KEYS)
            k = tl.load(k_ptr + head + key[None, :] * D + column[:, None], mask=key[None, :] < tokens, other=0.0)
            v = tl.load(v_ptr + head + key[:, None] * D + column[None, :], mask=key[:, None] < tokens, other=0.0)
            score = tl.where(key[None, :] < tokens, tl.dot(q, k, input_precision="ieee"), -float("inf"))
            before = largest
            largest = tl.maximum(before, tl.max(score, axis=1))
            p = tl.exp(score - largest[:, None])
            shrink = tl.exp(before - largest)
            mixture = mixture * shrink[:, None] + tl.dot(p, v, input_precision="ieee")
            weight = weight * shrink + tl.sum(p, axis=1)
        tl.store(o_ptr + at, mixture / weight[:, None], mask=row[:, None] < tokens)


def triton_tiles(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """One launch; no score leaves a multiprocessor. d is a power of two, at least 16 and at most 128."""
    heads, tokens, d = q.shape
    tile_kernel[(triton.cdiv(tokens, 64), heads)](q, k, v, o, tokens, 1 / math.sqrt(d), D=d, ROWS=64, KEYS=32)
