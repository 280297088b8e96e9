"""A leaky integrator whose rate depends on the sign of its input: y = v after 256 steps of v = rate * v + x. CUDA only.

x and y [n], float32; rate is 0.75 where x > 0 and 0.5 elsewhere. One call must read x and write y, 8 * n bytes, for
512 * n operations: enough arithmetic that memory does not hide the branch. The kernels are in warp_divergence.cu.
"""

from __future__ import annotations

import ctypes
import functools
import os

import torch
from torch import Tensor

STEPS = 256
RISING = 0.75
FALLING = 0.5


def reference(x: Tensor) -> Tensor:
    """The sum of the geometric series, in float64: x * (1 - rate**256) / (1 - rate)."""
    rate = torch.where(x > 0, RISING, FALLING).to(x.dtype)
    return x * (1 - rate**STEPS) / (1 - rate)


def branched(x: Tensor, y: Tensor) -> None:
    """A branch around the loop: a warp with both signs runs both loops in turn."""
    _launch("launch_branched", x, y)


def both_sides(x: Tensor, y: Tensor) -> None:
    """Both results for every element, one kept: no branch, and as much work as a warp that diverges."""
    _launch("launch_both_sides", x, y)


def selected(x: Tensor, y: Tensor) -> None:
    """The rate chosen before one loop: no branch, and half the work."""
    _launch("launch_selected", x, y)


@functools.cache
def _library() -> ctypes.CDLL:
    """The library that the runner built from warp_divergence.cu."""
    return ctypes.CDLL(os.path.join(os.environ["AISP_BUILD_DIR"], "warp_divergence.so"))


def _launch(name: str, x: Tensor, y: Tensor) -> None:
    """Enqueues a launcher on the current stream. Raises RuntimeError with CUDA's error code."""
    pointers = [ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr())]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    code = getattr(_library(), name)(*pointers, ctypes.c_int(x.shape[0]), stream)
    if code != 0:
        raise RuntimeError(f"warp_divergence.cu: {name} failed with CUDA error {code} for n={x.shape[0]}.")
