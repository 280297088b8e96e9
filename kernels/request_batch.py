"""A linear layer for many requests, y = x w^T: each request by itself, or batched until the weights are read once.

x [requests, k], w [n, k] (weights), y [requests, n], bfloat16, summed in float32. One call must read x and w and write y.
A request by itself reads all of w, 2 * n * k bytes for 2 * n * k operations: one operation a byte, where an H200 could do
200. Tensor cores work on 8 columns or more at a time, so up to 8 requests cost what one does.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference(x: Tensor, w: Tensor) -> Tensor:
    """The product in float64."""
    return x @ w.t()


def one_by_one(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Requests as they come: a matrix times a vector each."""
    for request, answer in zip(x, y, strict=True):
        torch.mv(w, request, out=answer)


def by_eight(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Eight requests a product: the weights are read an eighth as often."""
    _in_batches(8, x, w, y)


def by_thirty_two(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Thirty-two requests a product."""
    _in_batches(32, x, w, y)


def library(x: Tensor, w: Tensor, y: Tensor) -> None:
    """All requests in one product: what one call of the library does when it is allowed to."""
    torch.mm(x, w.t(), out=y)


def _in_batches(size: int, x: Tensor, w: Tensor, y: Tensor) -> None:
    for requests, answers in zip(x.split(size), y.split(size), strict=True):
        torch.mm(requests, w.t(), out=answers)
