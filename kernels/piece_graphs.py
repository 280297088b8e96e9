"""One decoding step of a few layers, with lengths that are data: one graph, or graphs of the pieces between attentions?

x, y [batch, heads * hd] float32. keys, values [layers, batch, heads, tokens, hd]: the caches, of which a sequence uses the
first length[i] places; length [batch] int32. wq, wo [layers, d, d], up [layers, d, 2 * d], down [layers, 2 * d, d] (weights).
A layer is x += attention(rms_norm(x) @ wq) @ wo, then x += relu(rms_norm(x) @ up) @ down. A graph has its shapes in it, so a
graph of all reads all `tokens` places of a cache; an attention that is started anew reads up to the longest sequence.
CUDA only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention

Weights = tuple[Tensor, Tensor, Tensor, Tensor]

_whole: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}
_pieces: dict[tuple[int, ...], Pieces] = {}


@dataclass(frozen=True)
class Pieces:
    """Graphs of what lies before, between and after the attentions, and the buffers through which they hand on."""

    graphs: list[torch.cuda.CUDAGraph]
    x: Tensor
    q: Tensor
    mixed: Tensor


def reference(
    x: Tensor, keys: Tensor, values: Tensor, length: Tensor, wq: Tensor, wo: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """In float64, with the attention as products and a softmax."""
    unused = (torch.arange(keys.shape[3], device=x.device) >= length.unsqueeze(1)).unsqueeze(1)
    for layer, (k, v) in enumerate(zip(keys, values, strict=True)):
        q = (_normed(x) @ wq[layer]).unflatten(1, (k.shape[1], -1))
        scores = (torch.einsum("bhd,bhtd->bht", q, k) / k.shape[3] ** 0.5).masked_fill(unused, float("-inf"))
        x = x + torch.einsum("bht,bhtd->bhd", torch.softmax(scores, dim=2), v).flatten(1) @ wo[layer]
        x = x + torch.relu(_normed(x) @ up[layer]) @ down[layer]
    return x


def eager(
    x: Tensor, keys: Tensor, values: Tensor, length: Tensor, wq: Tensor, wo: Tensor, up: Tensor, down: Tensor, y: Tensor
) -> None:
    """Launch by launch; the host asks for the longest length and looks at so much of the caches."""
    y.copy_(_layers(x, keys, values, length, int(length.max()), (wq, wo, up, down)))


def eager_padded(
    x: Tensor, keys: Tensor, values: Tensor, length: Tensor, wq: Tensor, wo: Tensor, up: Tensor, down: Tensor, y: Tensor
) -> None:
    """Launch by launch over the whole caches: what whole_graph records, so that its padding can be told from its launches."""
    y.copy_(_layers(x, keys, values, length, keys.shape[3], (wq, wo, up, down)))


def whole_graph(
    x: Tensor, keys: Tensor, values: Tensor, length: Tensor, wq: Tensor, wo: Tensor, up: Tensor, down: Tensor, y: Tensor
) -> None:
    """One replay and no wait. Bound to all addresses, so one graph a set of them."""
    tensors = (x, keys, values, length, wq, wo, up, down, y)
    key = (*(tensor.data_ptr() for tensor in tensors), *keys.shape)
    if key not in _whole:
        _whole[key] = _captured(lambda: eager_padded(*tensors))
    _whole[key].replay()


def piece_graphs(
    x: Tensor, keys: Tensor, values: Tensor, length: Tensor, wq: Tensor, wo: Tensor, up: Tensor, down: Tensor, y: Tensor
) -> None:
    """A replay for the products before, between and after the attentions, which are started at today's length. The graphs are
    bound to the weights' addresses and to buffers of their own."""
    weights = (wq, wo, up, down)
    key = (*(weight.data_ptr() for weight in weights), *x.shape)
    if key not in _pieces:
        _pieces[key] = _captured_pieces(x, weights)
    pieces, longest = _pieces[key], int(length.max())
    pieces.x.copy_(x)
    for graph, k, v in zip(pieces.graphs, keys, values, strict=False):
        graph.replay()
        pieces.mixed.copy_(_attention(pieces.q, k, v, length, longest))
    pieces.graphs[-1].replay()
    y.copy_(pieces.x)


def _layers(x: Tensor, keys: Tensor, values: Tensor, length: Tensor, longest: int, weights: Weights) -> Tensor:
    for layer, (k, v) in enumerate(zip(keys, values, strict=True)):
        mixed = _attention(_normed(x) @ weights[0][layer], k, v, length, longest)
        x = _after(x, mixed, layer, weights)
    return x


def _attention(q: Tensor, k: Tensor, v: Tensor, length: Tensor, longest: int) -> Tensor:
    """Of one token of each sequence to the first `length` places of its cache, [batch, d]; no more than `longest` are read."""
    used = (torch.arange(min(longest, k.shape[2]), device=q.device) < length.unsqueeze(1)).view(q.shape[0], 1, 1, -1)
    heads = q.unflatten(1, (k.shape[1], 1, -1))
    return scaled_dot_product_attention(heads, k[:, :, :longest], v[:, :, :longest], attn_mask=used).flatten(1)


def _after(x: Tensor, mixed: Tensor, layer: int, weights: Weights) -> Tensor:
    """The rest of a layer after its attention."""
    _, wo, up, down = weights
    x = x + mixed @ wo[layer]
    return x + torch.relu(_normed(x) @ up[layer]) @ down[layer]


def _normed(x: Tensor) -> Tensor:
    return rms_norm(x, x.shape[-1:], eps=1e-6)


def _captured_pieces(like: Tensor, weights: Weights) -> Pieces:
    """One graph more than there are layers."""
    x, q, mixed = (torch.zeros_like(like) for _ in range(3))
    layers = weights[0].shape[0]

    def piece(layer: int) -> None:
        if layer > 0:
            x.copy_(_after(x, mixed, layer - 1, weights))
        if layer < layers:
            q.copy_(_normed(x) @ weights[0][layer])

    return Pieces([_captured(lambda layer=layer: piece(layer)) for layer in range(layers + 1)], x, q, mixed)


def _captured(call: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of the call. A plain run first loads the kernels."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin(capture_error_mode="thread_local")
        call()
        graph.capture_end()
    torch.cuda.synchronize()
    return graph
