"""A filter of 64 taps, y[i] = sum over k of taps[k] * x[i + k]: load and compute in turn, or the next tile while computing?

x [n + 63], taps [64] (weights), y [n], float32. One call must read x and write y, 8 * n bytes, and do 128 * n operations:
16 operations a byte, where neither memory nor arithmetic is far from its limit on an H200 and overlap is worth most.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor

BLOCK = 32768
"""Outputs of a block on a CPU: x and y of a block are 256 KiB, within a second-level cache."""


def reference(x: Tensor, taps: Tensor) -> Tensor:
    """One dot product a window, in float64."""
    return x.unfold(0, 64, 1) @ taps


def tiled(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """A pass a tap on a CPU; on CUDA a block a tile: load it into shared memory, wait, compute. Other blocks fill the wait."""
    if x.is_cuda:
        launch("fir_pipeline", "launch_tiles", x, taps, y, y.shape[0])
        return
    _by_tap(x, taps, y)


def blocked(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """All 64 passes over one block before the next, so that a pass finds its data in a cache. CPU only."""
    for start in range(0, y.shape[0], BLOCK):
        out = y[start : start + BLOCK]
        _by_tap(x[start : start + out.shape[0] + 63], taps, out)


def windows(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """Overlapping windows as a matrix times the taps: one library call, which may first write out all windows. CPU only."""
    torch.mv(x.unfold(0, 64, 1), taps, out=y)


def resident(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """As tiled, by as many blocks as fit at once, each going on to its next tile: isolates residence. CUDA only."""
    launch("fir_pipeline", "launch_resident", x, taps, y, y.shape[0])


def pipelined(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """Resident blocks with two buffers: the next tile comes by cp.async while this one is computed. CUDA only."""
    launch("fir_pipeline", "launch_pipelined", x, taps, y, y.shape[0])


def engine(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """The same two buffers, filled by Hopper's copy engine (cp.async.bulk, a barrier a buffer). Needs sm_90."""
    launch("fir_pipeline", "launch_engine", x, taps, y, y.shape[0])


def library(x: Tensor, taps: Tensor, y: Tensor) -> None:
    """torch's convolution: cuDNN without TF32 on CUDA, oneDNN on a CPU. It has no output argument, so a copy is part of it."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        y.copy_(torch.nn.functional.conv1d(x[None, None], taps[None, None])[0, 0])


def _by_tap(x: Tensor, taps: Tensor, y: Tensor) -> None:
    n = y.shape[0]
    torch.mul(x[:n], taps[0], out=y)
    for k in range(1, 64):
        y.addcmul_(x[k : k + n], taps[k])
