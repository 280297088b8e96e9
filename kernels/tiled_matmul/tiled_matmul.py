"""Matrix product c = a b in true float32: how often is each element read, and from where? CUDA only.

a [m, k], b [k, n], c [m, n]. One call must read a and b and write c, 4 * (m * k + k * n + m * n) bytes, for
2 * m * n * k operations. The kernels are in tiled_matmul.cu; they do the same multiply-adds and differ in how many of
them follow a load.
"""

from __future__ import annotations

import ctypes
import functools
import os

import torch
from torch import Tensor


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The product in float64."""
    return a @ b


def one_output(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A thread an output, two loads a multiply-add. Reasonable: a warp reads one line of b and one word of a, cached."""
    _launch("launch_one_output", a, b, c)


def shared_tile(a: Tensor, b: Tensor, c: Tensor) -> None:
    """32 x 32 tiles in shared memory: 32 times fewer reads outside of it, still two loads a multiply-add from it."""
    _launch("launch_shared_tile", a, b, c)


def register_tile(a: Tensor, b: Tensor, c: Tensor) -> None:
    """8 x 8 outputs a thread, in registers: four 16-byte loads from shared memory for 64 multiply-adds."""
    _launch("launch_register_tile", a, b, c)


def library(a: Tensor, b: Tensor, c: Tensor) -> None:
    """cuBLAS, in float32 as well: torch leaves TF32 off unless it is asked for."""
    torch.mm(a, b, out=c)


@functools.cache
def _built() -> ctypes.CDLL:
    """The library that the runner built from tiled_matmul.cu."""
    return ctypes.CDLL(os.path.join(os.environ["AISP_BUILD_DIR"], "tiled_matmul.so"))


def _launch(name: str, a: Tensor, b: Tensor, c: Tensor) -> None:
    """Enqueues a launcher on the current stream. Raises RuntimeError with CUDA's error code."""
    (m, k), n = a.shape, b.shape[1]
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (a, b, c)]
    sizes = [ctypes.c_int(size) for size in (m, n, k)]
    code = getattr(_built(), name)(*pointers, *sizes, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
    if code != 0:
        raise RuntimeError(f"tiled_matmul.cu: {name} failed with CUDA error {code} for m={m}, n={n}, k={k}.")
