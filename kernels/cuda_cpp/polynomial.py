"""A polynomial of degree 31 for each element, y = sum over k of c[k] * x**k: what does a chain of dependent steps wait for?

x and y [n], c [32] (weights), float32, |x| < 0.9. One call must read x and write y, 8 * n bytes, and do 62 * n operations.
On a CPU each step is a pass over memory, on a GPU it is an instruction that needs the one before. n below 2**31 - 1024.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor

BLOCK_ELEMENTS = 32768
"""Elements of a block on a CPU: x and y of a block are 256 KiB, within a second-level cache."""


def reference(x: Tensor, c: Tensor) -> Tensor:
    """Horner's scheme in float64."""
    y = torch.zeros_like(x)
    for k in range(31, -1, -1):
        y = y * x + c[k]
    return y


def horner(x: Tensor, c: Tensor, y: Tensor) -> None:
    """Horner's scheme as it is written: a product and a sum a term, each a pass on a CPU; a rolled loop on CUDA."""
    if x.is_cuda:
        launch("polynomial", "launch_rolled", x, c, y, x.shape[0])
        return
    torch.mul(x, c[31], out=y)
    for k in range(30, 0, -1):
        y.add_(c[k]).mul_(x)
    y.add_(c[0])


def fused_step(x: Tensor, c: Tensor, y: Tensor) -> None:
    """Product and sum in one pass a term: half the passes. CPU only."""
    torch.addcmul(c[30], x, c[31], out=y)
    for k in range(29, -1, -1):
        torch.addcmul(c[k], y, x, out=y)


def blocked(x: Tensor, c: Tensor, y: Tensor) -> None:
    """As fused_step, all 31 passes over one block before the next, so that a pass finds its data in a cache. CPU only."""
    for start in range(0, x.shape[0], BLOCK_ELEMENTS):
        fused_step(x[start : start + BLOCK_ELEMENTS], c, y[start : start + BLOCK_ELEMENTS])


def unrolled(x: Tensor, c: Tensor, y: Tensor) -> None:
    """The same chain without a loop around it: coefficients can be fetched long before they are needed. CUDA only."""
    launch("polynomial", "launch_unrolled", x, c, y, x.shape[0])


def paired(x: Tensor, c: Tensor, y: Tensor) -> None:
    """Estrin's scheme: a chain of 5 steps instead of 31, as many operations, and 32 registers more. CUDA only."""
    launch("polynomial", "launch_paired", x, c, y, x.shape[0])


def four_chains(x: Tensor, c: Tensor, y: Tensor) -> None:
    """Four elements a thread: four independent chains, which share each fetched coefficient. CUDA only."""
    launch("polynomial", "launch_four_chains", x, c, y, x.shape[0])
