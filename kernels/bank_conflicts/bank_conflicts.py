"""Transpose of a square matrix through shared memory: c = a.T, with three layouts of the tile. CUDA only.

a and c [n, n], float32. One call must read a and write c, 8 * n * n bytes. The kernels are in bank_conflicts.cu and
differ only in where a tile's element lies in shared memory.
"""

from __future__ import annotations

import ctypes
import functools
import os

import torch
from torch import Tensor


def reference(a: Tensor) -> Tensor:
    """The transpose; nothing is rounded."""
    return a.t().contiguous()


def tiled(a: Tensor, c: Tensor) -> None:
    """Rows of the tile are 32 words apart: a warp reads its column from one bank."""
    _launch("launch_tiled", a, c)


def padded(a: Tensor, c: Tensor) -> None:
    """Rows are 33 words apart: a column lies in 32 banks, for 128 bytes more a tile."""
    _launch("launch_padded", a, c)


def swizzled(a: Tensor, c: Tensor) -> None:
    """Column index exclusive-or row index: also 32 banks, without the extra memory."""
    _launch("launch_swizzled", a, c)


@functools.cache
def _library() -> ctypes.CDLL:
    """The library that the runner built from bank_conflicts.cu."""
    return ctypes.CDLL(os.path.join(os.environ["AISP_BUILD_DIR"], "bank_conflicts.so"))


def _launch(name: str, a: Tensor, c: Tensor) -> None:
    """Enqueues a launcher on the current stream. Raises RuntimeError with CUDA's error code."""
    pointers = [ctypes.c_void_p(a.data_ptr()), ctypes.c_void_p(c.data_ptr())]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    code = getattr(_library(), name)(*pointers, ctypes.c_int(a.shape[0]), stream)
    if code != 0:
        raise RuntimeError(f"bank_conflicts.cu: {name} failed with CUDA error {code} for n={a.shape[0]}.")
