"""A linear layer whose answer is wanted in bfloat16: in which precision should the product be, and what do casts cost?

x [n, d], w [d, h] float32, y [n, h] bfloat16: y = relu((x / sqrt(d)) w). One call must read x and w and write y,
4 * (n * d + d * h) + 2 * n * h bytes, for 2 * n * d * h operations. The weights are kept in float32, as in training, where
they change from step to step: casting them is part of a call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor


def reference(x: Tensor, w: Tensor) -> Tensor:
    """The layer in float64."""
    return torch.relu(x @ w / w.shape[0] ** 0.5)


def float32(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Everything in float32, rounded at the end: the answer that needs no thought."""
    _layer(x, w, y)


def tf32(x: Tensor, w: Tensor, y: Tensor) -> None:
    """The same calls with a TF32 product, 11 significant bits in a factor: tensor cores without a cast. CUDA only."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        _layer(x, w, y)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def autocast(x: Tensor, w: Tensor, y: Tensor) -> None:
    """The same calls under torch.autocast, which casts what enters a product to bfloat16, 8 significant bits."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        _layer(x, w, y)


def cast(x: Tensor, w: Tensor, y: Tensor) -> None:
    """The casts written out, the product straight into y: isolates what autocast itself adds."""
    torch.mm((x * x.shape[1] ** -0.5).bfloat16(), w.bfloat16(), out=y).relu_()


def library(x: Tensor, w: Tensor, y: Tensor) -> None:
    """autocast through torch.compile, which fuses the scaling of x with its cast, and relu with the copy. CUDA only."""
    _compiled()(x, w, y)


@functools.cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor], None]:
    return torch.compile(autocast, dynamic=False)


def _layer(x: Tensor, w: Tensor, y: Tensor) -> None:
    y.copy_(torch.relu_((x * x.shape[1] ** -0.5) @ w))
