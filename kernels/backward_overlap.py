"""Weight gradients of a chain of linear layers, averaged over ranks: reduced after the backward pass, or while it goes on.

dy [b, d] is the gradient of the last layer's output, x [layers, b, d] are the layers' inputs, w [layers, d, d] their weights,
gw [layers, d, d] the means, float32, one of each a rank. gw[l] = x[l].T @ dy_l, and dy_(l-1) = dy_l @ w[l].T, from the last
layer to the first. One call of a rank does 4 * layers * b * d * d operations (the first layer's second product is not needed)
and sends and receives 4 * layers * d * d bytes with two ranks.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET_LAYERS = 2


def reference(dy: list[Tensor], x: list[Tensor], w: list[Tensor]) -> list[Tensor]:
    """The means in float64."""
    total = torch.zeros_like(w[0])
    for each_dy, each_x, each_w in zip(dy, x, w, strict=True):
        for layer in reversed(range(each_w.shape[0])):
            total[layer] += each_x[layer].t() @ each_dy
            each_dy = each_dy @ each_w[layer].t()
    return [total / len(dy) for _ in dy]


def afterwards(dy: Tensor, x: Tensor, w: Tensor, gw: Tensor) -> None:
    """The whole backward pass, then one reduction of all gradients: the fewest messages, and nothing to hide them behind."""
    for _ in _backward(dy, x, w, gw):
        pass
    dist.all_reduce(gw)


def layer_by_layer(dy: Tensor, x: Tensor, w: Tensor, gw: Tensor) -> None:
    """A reduction a layer that is waited for: isolates more messages from overlap."""
    for layer in _backward(dy, x, w, gw):
        dist.all_reduce(gw[layer])


def as_ready(dy: Tensor, x: Tensor, w: Tensor, gw: Tensor) -> None:
    """A layer's gradient is sent as soon as it is there, while the next layer's is computed; waited for at the end."""
    for work in [dist.all_reduce(gw[layer], async_op=True) for layer in _backward(dy, x, w, gw)]:
        work.wait()


def in_buckets(dy: Tensor, x: Tensor, w: Tensor, gw: Tensor) -> None:
    """As as_ready, two layers a message: fewer messages, begun later."""
    works = []
    last = gw.shape[0]
    for layer in _backward(dy, x, w, gw):
        if last - layer == BUCKET_LAYERS or layer == 0:
            works.append(dist.all_reduce(gw[layer:last], async_op=True))
            last = layer
    for work in works:
        work.wait()


def _backward(dy: Tensor, x: Tensor, w: Tensor, gw: Tensor) -> Iterator[int]:
    """The layers from the last to the first, each once this rank's gradient over the number of ranks is in gw."""
    dy = dy / dist.get_world_size()
    for layer in reversed(range(w.shape[0])):
        torch.mm(x[layer].t(), dy, out=gw[layer])
        yield layer
        if layer:
            dy = dy @ w[layer].t()
