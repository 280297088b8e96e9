"""Each feature scaled and shifted, y[i, j] = x[i, j] * scale[j] + shift[j], walked by feature or by sample.

x and y [samples, features], scale and shift [features] (weights), float32, rows in one piece. One call must read x and
write y, 8 * samples * features bytes. Elements of a feature are 4 * features bytes apart: a walk along it uses 4 bytes
of each 64-byte line (CPU) or 32-byte sector (GPU) that it touches, and relies on a cache to keep the rest.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor


def reference(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The formula in float64."""
    return x * scale + shift


def by_feature(x: Tensor, scale: Tensor, shift: Tensor, y: Tensor) -> None:
    """A loop over features, the way the problem is stated: one scale and one shift for each pass. On CUDA a block a feature."""
    if x.is_cuda:
        launch("loop_order", "launch_by_feature", x, scale, shift, y, *x.shape)
        return
    for j in range(x.shape[1]):
        torch.addcmul(shift[j], x[:, j], scale[j], out=y[:, j])


def by_sample(x: Tensor, scale: Tensor, shift: Tensor, y: Tensor) -> None:
    """A loop over samples: the same operation on lines that are in one piece. On CUDA a block a sample."""
    if x.is_cuda:
        launch("loop_order", "launch_by_sample", x, scale, shift, y, *x.shape)
        return
    for i in range(x.shape[0]):
        torch.addcmul(shift, x[i], scale, out=y[i])


def library(x: Tensor, scale: Tensor, shift: Tensor, y: Tensor) -> None:
    """One broadcast call of torch, which chooses the order by the strides."""
    torch.addcmul(shift, x, scale, out=y)
