"""Losses of the micro-batches of a step: loss[i] = mean(relu(x[i] w) ** 2), and when the host looks at them.

x [steps, rows, d], w [d, h], loss [steps], float32. One call must read x and w, and does 2 * steps * rows * d * h operations in
the products.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference(x: Tensor, w: Tensor) -> Tensor:
    """All products at once, in the dtype of the inputs."""
    return torch.relu(x @ w).square().mean((1, 2))


def read_each(x: Tensor, w: Tensor, loss: Tensor) -> None:
    """Reads each loss as it comes, as a loop with a progress bar or a log line does."""
    seen = []
    for part in x:
        seen.append(_one(part, w).item())
    loss.copy_(torch.tensor(seen))


def read_last(x: Tensor, w: Tensor, loss: Tensor) -> None:
    """Keeps the losses on the device and brings them together at the end; the host never waits."""
    torch.stack([_one(part, w) for part in x], out=loss)


def into_place(x: Tensor, w: Tensor, loss: Tensor) -> None:
    """Each mean is written where it belongs: no list, no copy."""
    for part, place in zip(x, loss, strict=True):
        torch.mean(torch.relu(part @ w).square_(), (0, 1), out=place)


def one_batch(x: Tensor, w: Tensor, loss: Tensor) -> None:
    """All micro-batches in one product and one mean."""
    steps, rows, d = x.shape
    hidden = torch.relu(x.view(steps * rows, d) @ w).square_()
    torch.mean(hidden.view(steps, -1), 1, out=loss)


def _one(part: Tensor, w: Tensor) -> Tensor:
    return torch.relu(part @ w).square_().mean()
