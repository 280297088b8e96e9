"""Attention of each head, y = softmax(q k^T / 8) v: written out, in blocks, or without ever storing a score.

q, k, v, y [heads, length, 64], float16, all keys for all queries. One call must read q, k, v and write y, 512 * heads *
length bytes, and do 256 * heads * length**2 operations. Stored in float32, the scores are 4 * heads * length**2 bytes,
written and read several times. Scores and sums are float32 in all variants; what differs is what is multiplied.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

SCALE = 0.125
QUERIES = 64
"""Queries of a block on a CPU: their scores against 512 keys are 128 KiB, within a second-level cache."""


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula in float64."""
    return torch.softmax(q @ k.mT * SCALE, dim=-1) @ v


def explicit(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """The formula in float32, from converted inputs: safe, and what a CPU is quick at."""
    scores = torch.bmm(q.float(), k.float().mT).mul_(SCALE)
    y.copy_(torch.bmm(torch.softmax(scores, dim=-1), v.float()))


def tensor_cores(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """Both products of float16, the scores still stored in float32: isolates the tensor cores. CUDA only."""
    scores = torch.bmm(q, k.mT, out_dtype=torch.float32).mul_(SCALE)
    torch.bmm(torch.softmax(scores, dim=-1).half(), v, out=y)


def blocked(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """As explicit, for 64 queries of a head at a time, so that scores stay in a cache. CPU only."""
    for head in range(q.shape[0]):
        keys, values = k[head].float().t(), v[head].float()
        for start in range(0, q.shape[1], QUERIES):
            some = slice(start, start + QUERIES)
            scores = torch.mm(q[head, some].float(), keys).mul_(SCALE)
            y[head, some] = torch.mm(torch.softmax(scores, dim=-1), values)


if triton is not None:

    @triton.jit
    def flash_kernel(
        q_ptr,
        k_ptr,
        v_ptr,
        y_ptr,
        length,
        scale,
        WIDTH: tl.constexpr,
        QUERIES: tl.constexpr,
        KEYS: tl.constexpr,
    ):
        """QUERIES rows of one head a program; program (block of queries, head). scale includes log2(e), for exp2."""
        head = tl.program_id(1).to(tl.int64) * length * WIDTH
        rows = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
        across = tl.arange(0, WIDTH)
        of_rows = head + rows[:, None] * WIDTH + across[None, :]
        q = tl.load(q_ptr + of_rows, mask=rows[:, None] < length, other=0.0)
        peak = tl.full((QUERIES,), float("-inf"), tl.float32)
        total = tl.zeros((QUERIES,), tl.float32)
        sums = tl.zeros((QUERIES, WIDTH), tl.float32)
        for start in range(0, length, KEYS):
            keys = start + tl.arange(0, KEYS)
            of_keys = head + keys[:, None] * WIDTH + across[None, :]
            k = tl.load(k_ptr + of_keys, mask=keys[:, None] < length, other=0.0)
            v = tl.load(v_ptr + of_keys, mask=keys[:, None] < length, other=0.0)
            scores = tl.where(keys[None, :] < length, tl.dot(q, tl.trans(k)) * scale, float("-inf"))
            higher = tl.maximum(peak, tl.max(scores, axis=1))
            weights = tl.exp2(scores - higher[:, None])
            shrink = tl.exp2(peak - higher)
            total = total * shrink + tl.sum(weights, axis=1)
            sums = tl.dot(weights.to(v.dtype), v, sums * shrink[:, None])
            peak = higher
        tl.store(y_ptr + of_rows, (sums / total[:, None]).to(y_ptr.dtype.element_ty), mask=rows[:, None] < length)


def launch_flash(q: Tensor, k: Tensor, v: Tensor, y: Tensor, queries: int, stages: int) -> None:
    """flash_kernel with blocks of `queries` x 64 and `stages` blocks of keys and values under way."""
    heads, length, width = q.shape
    grid = (triton.cdiv(length, queries), heads)
    sizes = {"WIDTH": width, "QUERIES": queries, "KEYS": 64}
    flash_kernel[grid](q, k, v, y, length, SCALE * 1.4426950408889634, **sizes, num_stages=stages, num_warps=queries // 16)


def online(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """No score is stored: a running maximum and sum for each query, one block of keys after the other, nothing ahead."""
    launch_flash(q, k, v, y, queries=128, stages=1)


def online_ahead(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """As online, with the next two blocks of keys and values under way: isolates the pipeline."""
    launch_flash(q, k, v, y, queries=128, stages=3)


def library(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """torch's scaled_dot_product_attention, which has no output argument: a copy of y is part of it."""
    y.copy_(torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], scale=SCALE)[0])
