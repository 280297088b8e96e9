"""Two linear layers whose answer is wanted in bfloat16: in which precision should the products be, and what do casts cost?

x [n, d], w1 [d, h], w2 [h, d] float32, y [n, d] bfloat16: y = (relu((x / sqrt(d)) w1) / sqrt(h)) w2. One call must read x, w1
and w2 and write y, 4 * (n * d + 2 * d * h) + 2 * n * d bytes, for 4 * n * d * h operations. Weights are kept in float32, as
in training; they may change from call to call, so casting them is part of a call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor


def reference(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """Both layers in float64."""
    return torch.relu(x @ w1) @ w2 / (w1.shape[0] * w1.shape[1]) ** 0.5


def float32(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """Everything in float32, rounded at the end: the answer that needs no thought."""
    _layers(x, w1, w2, y)


def tf32(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """The same calls with TF32 products, 11 significant bits in a factor: tensor cores without a cast. CUDA only."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        _layers(x, w1, w2, y)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def autocast(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """The same calls under torch.autocast, which casts what enters a product to bfloat16, 8 significant bits."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        _layers(x, w1, w2, y)


def cast(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """The casts written out, the second product straight into y: isolates what autocast itself adds."""
    hidden = torch.relu_((x * x.shape[1] ** -0.5).bfloat16() @ w1.bfloat16()).mul_(w2.shape[0] ** -0.5)
    torch.mm(hidden, w2.bfloat16(), out=y)


def library(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    """autocast through torch.compile, which fuses the casts with the scaling and relu. CUDA only."""
    _compiled()(x, w1, w2, y)


@functools.cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor, Tensor], None]:
    return torch.compile(autocast, dynamic=False)


def _layers(x: Tensor, w1: Tensor, w2: Tensor, y: Tensor) -> None:
    hidden = torch.relu((x * x.shape[1] ** -0.5) @ w1)
    y.copy_((hidden * w2.shape[0] ** -0.5) @ w2)
