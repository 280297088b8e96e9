"""A linear layer in bfloat16, y = x w^T summed in float32: what does each part of a tensor-core pipeline add? CUDA only.

x [m, k], w [n, k] (weights), y [m, n], bfloat16; n even, k a multiple of 8 (rows begin at multiples of 16 bytes). One call
must read x and w and write y, and do 2 * m * n * k operations. linear_wmma.cu runs on sm_80 and later, linear_wgmma.cu on
Hopper alone (capability 9.0).
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor


def reference(x: Tensor, w: Tensor) -> Tensor:
    """The product in float64."""
    return x @ w.t()


def upcast(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Inputs converted, the product in true float32 by cuBLAS, the result rounded: safe, and without tensor cores."""
    y.copy_(torch.mm(x.float(), w.float().t()))


def in_turn(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Tensor cores (WMMA) fed from tiles in shared memory: load, wait, multiply, wait."""
    launch("linear_wmma", "launch_in_turn", x, w, y, x.shape[0], w.shape[0], x.shape[1])


def pipelined(x: Tensor, w: Tensor, y: Tensor) -> None:
    """The same with three steps ahead under way (cp.async, four stages): isolates the overlap."""
    launch("linear_wmma", "launch_pipelined", x, w, y, x.shape[0], w.shape[0], x.shape[1])


def wgmma(x: Tensor, w: Tensor, y: Tensor) -> None:
    """Hopper's way: a warp that only asks the copy engine, two warpgroups that only multiply, barriers between them."""
    launch("linear_wgmma", "launch_wgmma", x, w, y, x.shape[0], w.shape[0], x.shape[1])


def library(x: Tensor, w: Tensor, y: Tensor) -> None:
    """cuBLAS in bfloat16 through torch."""
    torch.mm(x, w.t(), out=y)
