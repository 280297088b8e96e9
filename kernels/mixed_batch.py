"""A prompt and the next token of many sequences, through one layer: as two batches, at the same time, or as one batch?

x, yx [p, d]: the prompt's tokens, which attend to themselves, causally. z, yz [b, d]: one new token of each of b sequences,
which attends to its cache k, v [b, heads, t, e] and to itself. qkv [d, 3 * d], out [d, d], up [d, h], down [h, d] (weights).
float32, heads * e = d. The layer is r = x + attention out / sqrt(d), y = r + gelu(r up / sqrt(d)) down / sqrt(h). One call must
read x, z, the caches and the weights, and write yx, yz. By itself the new tokens' batch reads all weights for b rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention

_streams: dict[torch.device, torch.cuda.Stream] = {}


def reference(
    x: Tensor, z: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention as its formula, in float64."""
    heads, _, e = k.shape[1:]
    a, b, c = ((x @ part / x.shape[1] ** 0.5).view(-1, heads, e).transpose(0, 1) for part in qkv.chunk(3, 1))
    later = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool, device=x.device).triu(1)
    mixed = torch.softmax((a @ b.transpose(1, 2) / e**0.5).masked_fill(later, float("-inf")), 2) @ c
    f, g, i = ((z @ part / x.shape[1] ** 0.5).view(-1, heads, 1, e) for part in qkv.chunk(3, 1))
    keys, values = torch.cat((k, g), 2), torch.cat((v, i), 2)
    latest = torch.softmax(f @ keys.transpose(2, 3) / e**0.5, 3) @ values
    return _after(x, mixed.transpose(0, 1).flatten(1), out, up, down), _after(z, latest.flatten(1), out, up, down)


def two_batches(
    x: Tensor, z: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, yx: Tensor, yz: Tensor
) -> None:
    """The prompt, then the new tokens, as a server with a prefill step and a decode step does it: each reads all weights."""
    yx.copy_(_after(x, _prompt(_project(x, qkv), k.shape[1]), out, up, down))
    yz.copy_(_after(z, _latest(_project(z, qkv), k, v), out, up, down))


def two_streams(
    x: Tensor, z: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, yx: Tensor, yz: Tensor
) -> None:
    """The two steps at the same time, on a stream each: reading the caches next to the prompt's operations. CUDA only."""
    if x.device not in _streams:
        _streams[x.device] = torch.cuda.Stream(x.device)
    side = _streams[x.device]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        yz.copy_(_after(z, _latest(_project(z, qkv), k, v), out, up, down))
    yx.copy_(_after(x, _prompt(_project(x, qkv), k.shape[1]), out, up, down))
    torch.cuda.current_stream().wait_stream(side)


def one_batch(
    x: Tensor, z: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, yx: Tensor, yz: Tensor
) -> None:
    """New tokens ride along with the prompt: one product for each weight, which is read once, and two attentions."""
    _together(_latest, (x, z), (k, v), (qkv, out, up, down), (yx, yz))


def one_batch_joined(
    x: Tensor, z: Tensor, k: Tensor, v: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor, yx: Tensor, yz: Tensor
) -> None:
    """As one_batch, without copying a cache to make room for one token: the token's own share is joined to the cache's."""
    _together(_joined, (x, z), (k, v), (qkv, out, up, down), (yx, yz))


def _together(
    attend: Callable[..., Tensor],
    new: tuple[Tensor, Tensor],
    cache: tuple[Tensor, Tensor],
    weights: tuple[Tensor, ...],
    given: tuple[Tensor, Tensor],
) -> None:
    """Prompt and tokens in one pass; `attend` is how the tokens look at their caches."""
    both, p = torch.cat(new), new[0].shape[0]
    projected = _project(both, weights[0])
    mixed = torch.cat((_prompt(projected[:p], cache[0].shape[1]), attend(projected[p:], *cache)))
    y = _after(both, mixed, *weights[1:])
    given[0].copy_(y[:p])
    given[1].copy_(y[p:])


def _project(x: Tensor, qkv: Tensor) -> Tensor:
    return x @ qkv / x.shape[1] ** 0.5


def _prompt(projected: Tensor, heads: int) -> Tensor:
    """Causal attention of a prompt's tokens [p, 3 * d] to each other, [p, d]."""
    q, k, v = projected.view(projected.shape[0], 3, heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
    return scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1).flatten(1)


def _latest(projected: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of one token [b, 3 * d] a sequence to its cache with the token behind it, [b, d]."""
    q, key, value = projected.view(-1, 3, k.shape[1], 1, k.shape[3]).unbind(1)
    return scaled_dot_product_attention(q, torch.cat((k, key), 2), torch.cat((v, value), 2)).flatten(1)


def _joined(projected: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As _latest, with the scores joined instead of the caches: scores are e times smaller than keys."""
    q, key, value = projected.view(-1, 3, k.shape[1], 1, k.shape[3]).unbind(1)
    scores = torch.cat((q @ k.transpose(2, 3), (q * key).sum(3, keepdim=True)), 3)
    share = torch.softmax(scores * k.shape[3] ** -0.5, 3)
    return (share[..., :-1] @ v + share[..., -1:] * value).flatten(1)


def _after(x: Tensor, mixed: Tensor, out: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The layer behind the attention, [rows, d]."""
    r = x + mixed @ out / x.shape[1] ** 0.5
    return r + gelu(r @ up / x.shape[1] ** 0.5) @ down / up.shape[1] ** 0.5
