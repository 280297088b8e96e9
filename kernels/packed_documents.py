"""Causal attention over documents that were packed one behind the other: no token may look into another document.

q, k, v, o [heads, tokens, d], float32, length [documents] int32: documents lie in order, the last one takes what is left,
and what does not fit is cut off. One call must read q, k, v and write o, 16 * heads * tokens * d bytes. With documents of
about equal length only one pair in `documents` matters; a dense mask computes them all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from _banded_attention import banded_kernel, launch_banded  # noqa: F401  (the tests find the kernel by its name here)
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def reference(q: Tensor, k: Tensor, v: Tensor, length: Tensor) -> Tensor:
    """The formula in float64, a head at a time."""
    allowed, o = _mask(length, q.shape[1]), torch.empty_like(q)
    for head in range(q.shape[0]):
        scores = (q[head] @ k[head].t() / q.shape[2] ** 0.5).masked_fill(~allowed, float("-inf"))
        o[head] = torch.softmax(scores, dim=1) @ v[head]
    return o


def dense_mask(q: Tensor, k: Tensor, v: Tensor, length: Tensor, o: Tensor) -> None:
    """One SDPA with a mask of all pairs. Reasonable: one fused call, and no length has to come back to the host."""
    o.copy_(scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=_mask(length, q.shape[1]))[0])


def per_document(q: Tensor, k: Tensor, v: Tensor, length: Tensor, o: Tensor) -> None:
    """One causal SDPA a document: no pair for nothing, but the host waits for the lengths and starts each document."""
    start = 0
    lengths = length.tolist()
    for document, size in enumerate(lengths):
        stop = q.shape[1] if document == len(lengths) - 1 else min(start + size, q.shape[1])
        if start < stop:
            one = (x[None, :, start:stop] for x in (q, k, v))
            o[:, start:stop] = scaled_dot_product_attention(*one, is_causal=True)[0]
        start = stop


def library(q: Tensor, k: Tensor, v: Tensor, length: Tensor, o: Tensor) -> None:
    """FlexAttention: the block mask made anew from the lengths in every call, by a compiled function as well. CUDA only."""
    attend, blocks = _compiled()
    first = _first(length, q.shape[1])
    o.copy_(attend(q[None], k[None], v[None], block_mask=blocks(first))[0])


def triton_ranges(q: Tensor, k: Tensor, v: Tensor, length: Tensor, o: Tensor) -> None:
    """One kernel: a block of queries starts at the first key that one of them may see and stops at the diagonal. CUDA only."""
    launch_banded(q, k, v, o, _first(length, q.shape[1]))


def _first(length: Tensor, tokens: int) -> Tensor:
    """Where the document of each token begins, [tokens] int32."""
    ends = length.cumsum(0, dtype=torch.int32)
    document = torch.searchsorted(ends[:-1], torch.arange(tokens, dtype=torch.int32, device=length.device), right=True)
    return (ends - length)[document]


def _mask(length: Tensor, tokens: int) -> Tensor:
    """Whether query i may see key j, [tokens, tokens]."""
    key = torch.arange(tokens, device=length.device)
    return (key >= _first(length, tokens).unsqueeze(1)) & (key <= key.unsqueeze(1))


@functools.cache
def _compiled() -> tuple[Callable[..., Tensor], Callable[[Tensor], object]]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def blocks(first: Tensor) -> object:
        def allowed(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return (j >= first[i]) & (j <= i)

        return create_block_mask(allowed, None, None, first.shape[0], first.shape[0], device=first.device)

    return torch.compile(flex_attention, dynamic=False), torch.compile(blocks, dynamic=False)
