"""Causal attention with a penalty that grows with distance (ALiBi): who writes the bias down, and who just adds it?

q, k, v, o [heads, tokens, d], slope [heads] (a weight, positive), float32. Query i sees key j <= i with the score
q k / sqrt(d) + slope * (j - i). One call must read q, k, v and write o, 16 * heads * tokens * d bytes, for
2 * heads * tokens**2 * d operations: half of all pairs. A bias in memory takes 4 * heads * tokens**2 bytes to write and
as many to read, for numbers that two subtractions give.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from _banded_attention import banded_kernel, launch_banded  # noqa: F401  (the tests find the kernel by its name here)
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

ROWS = 128
"""Queries of a block: at least this many keys past a query are looked at for nothing, on average half of it."""


def reference(q: Tensor, k: Tensor, v: Tensor, slope: Tensor) -> Tensor:
    """The formula in float64, a head at a time."""
    o = torch.empty_like(q)
    for head in range(q.shape[0]):
        scores = q[head] @ k[head].t() / q.shape[2] ** 0.5 + _bias(slope[head], 0, q.shape[1], q.shape[1])
        o[head] = torch.softmax(scores, dim=1) @ v[head]
    return o


def dense_bias(q: Tensor, k: Tensor, v: Tensor, slope: Tensor, o: Tensor) -> None:
    """Bias for all pairs, scores, softmax, product: how a model's code spells it, with the score and bias added in one call."""
    tokens = q.shape[1]
    bias = _bias(slope.view(-1, 1, 1), 0, tokens, tokens)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[2] ** -0.5)
    torch.bmm(torch.softmax(scores, dim=2), v, out=o)


def sdpa_bias(q: Tensor, k: Tensor, v: Tensor, slope: Tensor, o: Tensor) -> None:
    """The same bias handed to SDPA: isolates the scores' trips to memory from the bias's."""
    bias = _bias(slope.view(-1, 1, 1), 0, q.shape[1], q.shape[1])
    o.copy_(scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias[None])[0])


def row_blocks(q: Tensor, k: Tensor, v: Tensor, slope: Tensor, o: Tensor) -> None:
    """As dense_bias, 128 queries at a time and only the keys up to the last of them: about half the work, smaller scores."""
    for start in range(0, q.shape[1], ROWS):
        stop = min(start + ROWS, q.shape[1])
        bias = _bias(slope.view(-1, 1, 1), start, stop, stop)
        scores = torch.baddbmm(bias, q[:, start:stop], k[:, :stop].transpose(1, 2), alpha=q.shape[2] ** -0.5)
        torch.bmm(torch.softmax(scores, dim=2), v[:, :stop], out=o[:, start:stop])


def library(q: Tensor, k: Tensor, v: Tensor, slope: Tensor, o: Tensor) -> None:
    """FlexAttention: the bias as a function that torch.compile puts into the kernel, the future as a block mask. CUDA only."""
    o.copy_(_compiled()(q[None], k[None], v[None], slope, _causal(q.shape[1], q.device))[0])


def triton_sloped(q: Tensor, k: Tensor, v: Tensor, slope: Tensor, o: Tensor) -> None:
    """One kernel that adds the slope to the scores in registers and stops at the diagonal. CUDA only."""
    launch_banded(q, k, v, o, _from_the_start(q.shape[1], q.device), slope)


def _bias(slope: Tensor, start: int, stop: int, keys: int) -> Tensor:
    """slope * (key - query) for queries start to stop, minus infinity for keys after the query."""
    query = torch.arange(start, stop, device=slope.device).unsqueeze(1)
    distance = torch.arange(keys, device=slope.device) - query
    return (distance * slope).masked_fill_(distance > 0, float("-inf"))


@functools.cache
def _from_the_start(tokens: int, device: torch.device) -> Tensor:
    """Every query sees from key 0 on: of the shape alone, so it may be kept."""
    return torch.zeros(tokens, dtype=torch.int32, device=device)


@functools.cache
def _causal(tokens: int, device: torch.device) -> object:
    """FlexAttention's block mask of a causal attention: of the shape alone, so it may be kept."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(lambda b, h, i, j: i >= j, None, None, tokens, tokens, device=device)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    def sloped(q: Tensor, k: Tensor, v: Tensor, slope: Tensor, mask: object) -> Tensor:
        def bias(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return score + slope[h] * (j - i)

        return flex_attention(q, k, v, score_mod=bias, block_mask=mask)

    return torch.compile(sloped, dynamic=False)
