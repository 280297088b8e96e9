"""Forward pass of a two-layer perceptron, in 32 micro-batches or in one batch: y = relu(x @ w1) @ w2.

x [n, d] activations, w1 [d, h] and w2 [h, d] weights, y [n, d], float32. One call must read x, w1 and w2 and write y:
4 * (2 * n * d + 2 * d * h) bytes, for 4 * n * d * h operations. Two factors separate the first version from the best:
how many launches there are, and whether the hidden layer [rows, h] is allocated again for each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

MICRO_BATCHES = 32

_scratch: dict[tuple[object, ...], Tensor] = {}


def reference(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """The whole batch in float64."""
    return torch.relu(x @ w1) @ w2


def micro_batches(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """32 micro-batches one after the other, three launches and three temporaries each."""
    step = _rows(x)
    for start in range(0, x.shape[0], step):
        hidden = torch.relu(x[start : start + step] @ w1)
        y[start : start + step] = hidden @ w2


def preallocated(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """The same launches without an allocation or a copy: the hidden layer is reused, the result goes straight to y."""
    step = _rows(x)
    hidden = _hidden(x, w1, step)
    for start in range(0, x.shape[0], step):
        rows = x[start : start + step]
        part = hidden[: rows.shape[0]]
        torch.mm(rows, w1, out=part)
        part.relu_()
        torch.mm(part, w2, out=y[start : start + step])


def fused_batch(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """One batch, temporaries allocated as in the first version: isolates the number of launches."""
    y.copy_(torch.relu(x @ w1) @ w2)


def fused_preallocated(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """Both: one batch, and no allocation."""
    hidden = _hidden(x, w1, x.shape[0])
    torch.mm(x, w1, out=hidden)
    hidden.relu_()
    torch.mm(hidden, w2, out=y)


def _rows(x: Tensor) -> int:
    return -(-x.shape[0] // MICRO_BATCHES)


def _hidden(x: Tensor, w1: Tensor, rows: int) -> Tensor:
    """Scratch for the hidden layer, kept between calls; every call writes it before reading it."""
    key = (x.device, rows, w1.shape[1])
    if key not in _scratch:
        _scratch[key] = torch.empty(rows, w1.shape[1], dtype=x.dtype, device=x.device)
    return _scratch[key]
