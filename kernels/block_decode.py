"""A whole transformer block decodes token by token: how much of a better cache is left when everything around it is measured?

x, y [steps, d], k, v [heads, past, e] (the prompt's cache), qkv [d, 3 * d], out [d, d], up [d, h], down [h, d] (weights),
float32, heads * e = d. Step i takes u = x[i] + norm(y[i - 1]), so it cannot begin before step i - 1 is done; its key and value
join the cache; r = u + attention(norm(u) qkv) out / sqrt(d), y[i] = r + gelu(norm(r) up / sqrt(d)) down / sqrt(h). A step must
read the cache and the weights, 8 * heads * (past + i) * e + 4 * d * (4 * d + 2 * h) bytes. Concatenation moves the cache, too.
"""

from __future__ import annotations

from collections.abc import Callable

import captured_calls
import torch
from torch import Tensor
from torch.nn.functional import gelu, rms_norm, scaled_dot_product_attention

PAGE = 16
"""Tokens of a page."""

_rooms: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}


def reference(x: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A step at a time in float64, attention and norm by their formulas."""
    heads, d = k.shape[0], x.shape[1]
    made = [torch.zeros_like(x[0])]
    for token in x:
        u = token + _norm(made[-1])
        q, key, value = (_norm(u) @ qkv / d**0.5).view(3, heads, 1, -1)
        k, v = torch.cat((k, key), 1), torch.cat((v, value), 1)
        mixed = torch.softmax(q @ k.transpose(1, 2) / k.shape[2] ** 0.5, 2) @ v
        r = u + mixed.flatten() @ out / d**0.5
        made.append(r + gelu(_norm(r) @ up / d**0.5) @ down / up.shape[1] ** 0.5)
    return torch.stack(made[1:])


def concatenated(x: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """torch.cat at every step, as models do whose cache is a pair of tensors that they hand back to the caller."""
    grown = [k, v]

    def attend(q: Tensor, key: Tensor, value: Tensor, i: int) -> Tensor:
        grown[:] = torch.cat((grown[0], key), 1), torch.cat((grown[1], value), 1)
        return _attention(q, *grown)

    _decode(x, k.shape[0], qkv, out, up, down, y, attend)


def preallocated(x: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A room for the final length, kept between calls: the prompt's cache is copied once a call, a token written once."""
    past = k.shape[1]
    keys, values = _room(k, past + x.shape[0])
    keys[:, :past], values[:, :past] = k, v

    def attend(q: Tensor, key: Tensor, value: Tensor, i: int) -> Tensor:
        keys[:, past + i], values[:, past + i] = key[:, 0], value[:, 0]
        return _attention(q, keys[:, : past + i + 1], values[:, : past + i + 1])

    _decode(x, k.shape[0], qkv, out, up, down, y, attend)


def paged(x: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Pages of 16 tokens from a pool's end, found by a page table, gathered in every step: memory need not be in one piece."""
    (heads, past, e), tokens = k.shape, k.shape[1] + x.shape[0]
    pages = -(-tokens // PAGE)
    pools = [room.view(heads, pages, PAGE, e) for room in _room(k, pages * PAGE)]
    table = torch.arange(pages - 1, -1, -1, device=k.device)
    slot = table[torch.arange(past, device=k.device) // PAGE] * PAGE + torch.arange(past, device=k.device) % PAGE
    for pool, prompt in zip(pools, (k, v), strict=True):
        pool.view(heads, -1, e).index_copy_(1, slot, prompt)

    def attend(q: Tensor, key: Tensor, value: Tensor, i: int) -> Tensor:
        page, place = divmod(past + i, PAGE)
        for pool, new in zip(pools, (key, value), strict=True):
            pool[:, pages - 1 - page, place] = new[:, 0]
        seen = [pool.index_select(1, table[: page + 1]).flatten(1, 2)[:, : past + i + 1] for pool in pools]
        return _attention(q, *seen)

    _decode(x, heads, qkv, out, up, down, y, attend)


def library(x: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """As preallocated, with SDPA in place of two products and a softmax."""
    past = k.shape[1]
    keys, values = (room.unsqueeze(0) for room in _room(k, past + x.shape[0]))
    keys[0, :, :past], values[0, :, :past] = k, v

    def attend(q: Tensor, key: Tensor, value: Tensor, i: int) -> Tensor:
        keys[0, :, past + i], values[0, :, past + i] = key[:, 0], value[:, 0]
        seen = (cache[:, :, : past + i + 1] for cache in (keys, values))
        return scaled_dot_product_attention(q.unsqueeze(0), *seen)[0]

    _decode(x, k.shape[0], qkv, out, up, down, y, attend)


def graph(x: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """All steps of preallocated captured once for each set of addresses and replayed: isolates dispatch. CUDA only."""
    captured_calls.replay(preallocated, x, k, v, qkv, out, up, down, y)


def _decode(
    x: Tensor, heads: int, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, y: Tensor, attend: Callable[..., Tensor]
) -> None:
    """Every step of the block; attend(q, key, value, i) takes [heads, 1, e] and keeps the cache."""
    d, h = up.shape
    before = torch.zeros_like(x[:1])
    for i in range(x.shape[0]):
        u = x[i : i + 1] + _norm(before)
        q, key, value = (_norm(u) @ qkv / d**0.5).view(3, heads, 1, -1)
        r = u + attend(q, key, value, i).view(1, d) @ out / d**0.5
        before = y[i : i + 1]
        torch.add(r, gelu(_norm(r) @ up / d**0.5) @ down, alpha=h**-0.5, out=before)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, 2) @ v


def _norm(x: Tensor) -> Tensor:
    return rms_norm(x, x.shape[-1:], eps=1e-6)


def _room(k: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Rooms for the keys and values of so many tokens, kept between calls; what is read was written in the same call."""
    key = (k.device, tokens, k.shape)
    if key not in _rooms:
        _rooms[key] = tuple(k.new_zeros(k.shape[0], tokens, k.shape[2]) for _ in range(2))
    return _rooms[key]
