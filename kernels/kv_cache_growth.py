"""Decoding with a growing cache: token t attends to tokens 0 to t, whose keys and values have been collected one by one.

q, k, v, o [tokens, heads, d], float32. One call must read q, k, v and write o once, 16 * tokens * heads * d bytes, for
2 * tokens**2 * heads * d operations. Growing by concatenation copies the whole cache at every token: in all another
8 * tokens**2 * heads * d bytes, read and written. All variants but `library` use one attention call a token, as a decoder
must: it cannot know token t + 1 before o[t].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PAGE = 16
"""Tokens of a page."""

_scratch: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention in float64, a head at a time."""
    tokens, heads, d = q.shape
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).triu(1)
    o = torch.empty_like(q)
    for head in range(heads):
        scores = (q[:, head] @ k[:, head].t() / d**0.5).masked_fill(later, float("-inf"))
        o[:, head] = torch.softmax(scores, dim=1) @ v[:, head]
    return o


def concatenated(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """torch.cat at every token. Reasonable: the length is not known beforehand, and many published models do just this."""
    keys, values = k[:1], v[:1]
    _attend(q, keys, values, o, 0)
    for t in range(1, q.shape[0]):
        keys, values = torch.cat((keys, k[t : t + 1])), torch.cat((values, v[t : t + 1]))
        _attend(q, keys, values, o, t)


def doubling(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """A cache that doubles when it is full: the length need not be known, and a token is copied about once more."""
    keys, values = torch.empty_like(k[:PAGE]), torch.empty_like(v[:PAGE])
    for t in range(q.shape[0]):
        if t == keys.shape[0]:
            keys, values = (torch.cat((cache, torch.empty_like(cache))) for cache in (keys, values))
        keys[t], values[t] = k[t], v[t]
        _attend(q, keys[: t + 1], values[: t + 1], o, t)


def preallocated(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """A cache of the final length, kept between calls: a token is written once and the cache is looked at through a view."""
    keys, values = _pool(k, k.shape[0])
    for t in range(q.shape[0]):
        keys[t], values[t] = k[t], v[t]
        _attend(q, keys[: t + 1], values[: t + 1], o, t)


def paged(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """Pages of 16 tokens, taken from a pool from its end when they are needed; attention gathers them by their numbers."""
    tokens = q.shape[0]
    pages = -(-tokens // PAGE)
    key_pages, value_pages = (cache.view(pages, PAGE, *k.shape[1:]) for cache in _pool(k, pages * PAGE))
    free = torch.arange(pages - 1, -1, -1, device=k.device)
    for t in range(tokens):
        page, place = divmod(t, PAGE)
        key_pages[pages - 1 - page, place], value_pages[pages - 1 - page, place] = k[t], v[t]
        table = free[: page + 1]
        keys, values = (pool.index_select(0, table).flatten(0, 1) for pool in (key_pages, value_pages))
        _attend(q, keys[: t + 1], values[: t + 1], o, t)


def library(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> None:
    """One causal SDPA over all tokens, as in prefill. A decoder cannot do this; it is the floor below the other variants."""
    heads_first = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
    o.copy_(scaled_dot_product_attention(*heads_first, is_causal=True).squeeze(0).transpose(0, 1))


def _attend(q: Tensor, keys: Tensor, values: Tensor, o: Tensor, t: int) -> None:
    """Token t to everything in the cache: [heads, 1, d] to [heads, t + 1, d]."""
    seen = (x.transpose(0, 1).unsqueeze(0) for x in (q[t : t + 1], keys, values))
    o[t] = scaled_dot_product_attention(*seen).view(o.shape[1:])


def _pool(k: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Room for the keys and values of `tokens` tokens, kept between calls; each place is written before it is read."""
    key = (k.device, tokens, k.shape[1:])
    if key not in _scratch:
        _scratch[key] = (k.new_zeros(tokens, *k.shape[1:]), k.new_zeros(tokens, *k.shape[1:]))
    return _scratch[key]
