"""c = a.T for a matrix that is stored in rows: which side should walk with a stride, or neither?

a [rows, columns], c [columns, rows], float32, fewer than 2**31 elements an axis. One call must read a and write c,
8 * rows * columns bytes. One of the two is always walked across its rows; a block that fits a cache (or shared memory)
lets each line be moved once.
"""

from __future__ import annotations

from cuda_launch import launch
from torch import Tensor

BLOCK = 64
"""On a CPU: a block of a and one of c are 16 KiB each, both within a first-level cache."""


def reference(a: Tensor) -> Tensor:
    """The transpose; nothing is rounded."""
    return a.t().contiguous()


def strided_writes(a: Tensor, c: Tensor) -> None:
    """Row after row of a into a column of c. On CUDA neighbouring threads read neighbours and write far apart."""
    if a.is_cuda:
        launch("transpose", "launch_strided_writes", a, c, *a.shape)
        return
    for i in range(a.shape[0]):
        c[:, i] = a[i]


def strided_reads(a: Tensor, c: Tensor) -> None:
    """Column after column of a into a row of c: isolates which side is in one piece."""
    if a.is_cuda:
        launch("transpose", "launch_strided_reads", a, c, *a.shape)
        return
    for j in range(a.shape[1]):
        c[j] = a[:, j]


def blocked(a: Tensor, c: Tensor) -> None:
    """In square blocks of 64 (CPU), or of 32 through shared memory, so that both sides are in one piece (CUDA)."""
    if a.is_cuda:
        launch("transpose", "launch_blocked", a, c, *a.shape)
        return
    for i in range(0, a.shape[0], BLOCK):
        for j in range(0, a.shape[1], BLOCK):
            c[j : j + BLOCK, i : i + BLOCK] = a[i : i + BLOCK, j : j + BLOCK].t()


def library(a: Tensor, c: Tensor) -> None:
    """One copy of torch from the transposed view, which has blocks of its own on a CPU."""
    c.copy_(a.t())
