"""Sums of a few long rows, y[i] = sum over j of x[i, j], 64 blocks a row: how do 64 partial sums become one? CUDA only.

x [rows, columns], y [rows], float32. One call must read x, 4 * rows * columns bytes. The kernels are in row_sum.cu; all read
the same elements in the same blocks and differ in what happens to a block's sum.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor

_parts: dict[tuple[torch.device, int], Tensor] = {}


def reference(x: Tensor) -> Tensor:
    """The sum in float64."""
    return x.sum(dim=1)


def two_launches(x: Tensor, y: Tensor) -> None:
    """Partial sums to memory, and a second kernel for them: no atomics, the same rounding every time."""
    parts = _parts.get((x.device, x.shape[0]))
    if parts is None:
        parts = _parts[x.device, x.shape[0]] = torch.empty(x.shape[0], 64, device=x.device)
    launch("row_sum", "launch_two_launches", x, parts, y, *x.shape)


def atomic(x: Tensor, y: Tensor) -> None:
    """Each block adds to the answer, which is set to zero before: also two entries in the queue, one of them a fill."""
    launch("row_sum", "launch_atomic", x, y, *x.shape)


def by_cluster(x: Tensor, y: Tensor) -> None:
    """Clusters of 8 blocks add up in distributed shared memory, then one atomic addition a cluster. Needs sm_90."""
    launch("row_sum", "launch_by_cluster", x, y, *x.shape)


def library(x: Tensor, y: Tensor) -> None:
    """torch's sum, straight into the output."""
    torch.sum(x, dim=1, out=y)
