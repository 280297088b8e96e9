"""Soft threshold of a signal, y = sign(x) * max(|x| - 1/2, 0): a branch, a choice, or a pipeline that hides the load?

x and y [n], float32. One call must read x and write y, 8 * n bytes. Subtracting 1/2 is rounded at most once.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor

THRESHOLD = 0.5


def reference(x: Tensor) -> Tensor:
    """The definition."""
    return torch.sign(x) * torch.clamp(x.abs() - THRESHOLD, min=0.0)


def branched(x: Tensor, y: Tensor) -> None:
    """Each side is computed for its own elements: by boolean masks on a CPU, by if and else in a CUDA thread."""
    if x.is_cuda:
        launch("soft_threshold", "launch_branched", x, y, x.shape[0], THRESHOLD)
        return
    above, below = x > THRESHOLD, x < -THRESHOLD
    y.zero_()
    y[above] = x[above] - THRESHOLD
    y[below] = x[below] + THRESHOLD


def chosen(x: Tensor, y: Tensor) -> None:
    """Both sides for every element, and a choice. CPU only: a CUDA compiler makes this of the branch by itself."""
    side = torch.where(x < -THRESHOLD, x + THRESHOLD, 0.0)
    torch.where(x > THRESHOLD, x - THRESHOLD, side, out=y)


def clamped(x: Tensor, y: Tensor) -> None:
    """x minus its part within the threshold: no choice at all, two passes on a CPU, one on CUDA."""
    if x.is_cuda:
        launch("soft_threshold", "launch_clamped", x, y, x.shape[0], THRESHOLD)
        return
    torch.clamp(x, -THRESHOLD, THRESHOLD, out=y)
    torch.sub(x, y, out=y)


def wide(x: Tensor, y: Tensor) -> None:
    """As clamped, with 16 bytes a thread."""
    launch("soft_threshold", "launch_wide", x, y, x.shape[0], THRESHOLD)


def ringed(x: Tensor, y: Tensor) -> None:
    """As wide, from resident threads that keep three asynchronous copies (cp.async) under way each."""
    launch("soft_threshold", "launch_ringed", x, y, x.shape[0], THRESHOLD)


def library(x: Tensor, y: Tensor) -> None:
    """torch's softshrink, straight into the output."""
    torch.ops.aten.softshrink.out(x, THRESHOLD, out=y)
