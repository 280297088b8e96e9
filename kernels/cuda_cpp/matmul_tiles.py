"""c = a b in true float32: where does a multiply-add get its numbers from? CUDA only.

a [m, k], b [k, n], c [m, n], float32, any sizes below 2**31. One call must read a and b and write c, and do 2 * m * n * k
operations. The kernels are in matmul_tiles.cu; none uses tensor cores, which would round the inputs (chapter 10 does).
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The product in float64."""
    return a @ b


def naive(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A thread an output. Its neighbours share a's row and read b in lines: the caches serve most of 2 loads a step."""
    _launch("launch_naive", a, b, c)


def tiled(a: Tensor, b: Tensor, c: Tensor) -> None:
    """Tiles of 32 x 32 in shared memory: global memory is read 32 times less, shared memory twice a step."""
    _launch("launch_tiled", a, b, c)


def registers(a: Tensor, b: Tensor, c: Tensor) -> None:
    """Tiles of 128 x 128 a block, 8 x 8 outputs a thread: 16 numbers from shared memory for 64 steps."""
    _launch("launch_registers", a, b, c)


def pipelined(a: Tensor, b: Tensor, c: Tensor) -> None:
    """As registers, with two tiles ahead under way (cp.async, three stages): isolates the overlap."""
    _launch("launch_pipelined", a, b, c)


def library(a: Tensor, b: Tensor, c: Tensor) -> None:
    """cuBLAS through torch, in float32 without TF32."""
    torch.mm(a, b, out=c)


def _launch(launcher: str, a: Tensor, b: Tensor, c: Tensor) -> None:
    launch("matmul_tiles", launcher, a, b, c, a.shape[0], b.shape[1], a.shape[1])
