"""Softmax of long rows: how often is a row read, when it fits no multiprocessor's shared memory? CUDA only.

x and y [rows, columns], float32. One call must read x and write y, 8 * rows * columns bytes. A row of 131,072 columns is
512 KiB; a multiprocessor of Hopper can keep 227 KiB, the 8 of a cluster 1.8 MB. The kernels are in cluster_softmax.cu.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor


def reference(x: Tensor) -> Tensor:
    """The definition in float64."""
    return torch.softmax(x, dim=1)


def three_passes(x: Tensor, y: Tensor) -> None:
    """A block a row: the maximum, the sum, the answer, each from memory; the second-level cache may help."""
    launch("cluster_softmax", "launch_three_passes", x, y, *x.shape)


def two_passes(x: Tensor, y: Tensor) -> None:
    """Maximum and sum in one pass, the sum rescaled when the maximum grows: a read less, two exponentials an element more."""
    launch("cluster_softmax", "launch_two_passes", x, y, *x.shape)


def in_cluster(x: Tensor, y: Tensor) -> None:
    """Eight blocks keep the row in their shared memory and read each other's partial results there: one read. Needs sm_90."""
    launch("cluster_softmax", "launch_in_cluster", x, y, *x.shape)


def library(x: Tensor, y: Tensor) -> None:
    """torch's softmax, straight into the output."""
    torch.softmax(x, dim=1, out=y)
