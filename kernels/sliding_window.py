"""Causal attention with a sliding window over a whole prompt: token i sees the tokens i - window + 1 to i. CUDA only.

q, k, v, o [heads, tokens, d], float16 with float32 sums; the window is an eighth of the prompt, tokens // 8. One call must
read q, k, v and write o, 8 * heads * tokens * d bytes, for 4 * heads * tokens * window * d operations, less a triangle at
the start. With a mask over all pairs it does eight times as many.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from _banded_attention import banded_kernel, launch_banded  # noqa: F401  (the tests find the kernel by its name here)
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula in float64, a head at a time."""
    tokens, o = q.shape[1], torch.empty_like(q)
    hidden = ~_band(0, tokens, 0, tokens, tokens // 8, q.device)
    for head in range(q.shape[0]):
        scores = (q[head] @ k[head].t()).mul_(q.shape[2] ** -0.5).masked_fill_(hidden, float("-inf"))
        o[head] = torch.softmax(scores, dim=1) @ v[head]
    return o


def dense_mask(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """One SDPA with a mask of all pairs, made once for a length: the shortest correct way to say it in PyTorch."""
    o.copy_(scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=_whole_band(q.shape[1], q.device))[0])


def neighbour_blocks(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """SDPA for a window's length of queries at a time, which see these keys and as many before: a quarter of the pairs."""
    tokens = q.shape[1]
    window = tokens // 8
    for start in range(0, tokens, window):
        first, stop = max(0, start - window), min(start + window, tokens)
        mask = _band(start, stop, first, stop, window, q.device)
        near = (q[None, :, start:stop], k[None, :, first:stop], v[None, :, first:stop])
        o[:, start:stop] = scaled_dot_product_attention(*near, attn_mask=mask)[0]


def triton_window(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """One kernel whose blocks of queries start at the first key that one of them sees and stop at the diagonal."""
    launch_banded(q, k, v, o, _first(q.shape[1], q.device))


def library(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """FlexAttention with a block mask, which is made once for a length."""
    o.copy_(_compiled()(q[None], k[None], v[None], block_mask=_block_mask(q.shape[1], q.device))[0])


def _band(start: int, stop: int, first: int, last: int, window: int, device: torch.device) -> Tensor:
    """Whether queries start to stop see keys first to last."""
    behind = torch.arange(start, stop, device=device).unsqueeze(1) - torch.arange(first, last, device=device)
    return (behind >= 0) & (behind < window)


@functools.cache
def _whole_band(tokens: int, device: torch.device) -> Tensor:
    """Of the shape alone, so it may be kept."""
    return _band(0, tokens, 0, tokens, tokens // 8, device)


@functools.cache
def _first(tokens: int, device: torch.device) -> Tensor:
    """The first key that each query sees; of the shape alone, so it may be kept."""
    return (torch.arange(tokens, dtype=torch.int32, device=device) - tokens // 8 + 1).clamp_(min=0)


@functools.cache
def _block_mask(tokens: int, device: torch.device) -> object:
    """Of the shape alone, so it may be kept."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < tokens // 8), None, None, tokens, tokens, device=device)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)
