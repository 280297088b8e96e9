"""A 5 x 5 binomial filter in two passes with a scratch image between them: where does the scratch memory come from? CUDA only.

x, y [rows, columns], float32, zeros outside; weights are (1, 4, 6, 4, 1) / 16 in either direction. One call must read x and
write y, 8 * rows * columns bytes; two passes move 16. The kernels are in stream_scratch.cu and are the same in all variants.
"""

from __future__ import annotations

import ctypes
import functools
import os

import torch
from torch import Tensor

TAPS = (1.0, 4.0, 6.0, 4.0, 1.0)

_scratch: dict[tuple[object, ...], Tensor] = {}


def reference(x: Tensor) -> Tensor:
    """Both passes in float64."""
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device) / 16
    square = torch.outer(taps, taps)
    return torch.nn.functional.conv2d(x[None, None], square[None, None], padding=2)[0, 0]


def allocated(x: Tensor, y: Tensor) -> None:
    """cudaMalloc, two kernels, cudaFree: a first C program. cudaFree waits until the device is done, the host stays behind."""
    _launch("launch_allocated", x, y)


def ordered(x: Tensor, y: Tensor) -> None:
    """cudaMallocAsync and cudaFreeAsync: both take their turn in the stream, and the host goes on."""
    _launch("launch_ordered", x, y)


def ordered_and_kept(x: Tensor, y: Tensor) -> None:
    """As ordered, with a pool that gives nothing back when the host waits for the device, as at the end of each batch."""
    _keep_pool(x.device.index)
    _launch("launch_ordered", x, y)


def cached(x: Tensor, y: Tensor) -> None:
    """torch.empty, whose allocator asks CUDA only for what it does not have: stream-ordered as well, without a driver call."""
    _launch("launch_given", x, torch.empty_like(x), y)


def reused(x: Tensor, y: Tensor) -> None:
    """One scratch image a shape, kept from call to call: nothing is asked for. It is taken from everybody else for good."""
    key = (x.device, x.shape)
    if key not in _scratch:
        _scratch[key] = torch.empty_like(x)
    _launch("launch_given", x, _scratch[key], y)


@functools.cache
def _library() -> ctypes.CDLL:
    """What the runner built from stream_scratch.cu."""
    return ctypes.CDLL(os.path.join(os.environ["AISP_BUILD_DIR"], "stream_scratch.so"))


@functools.cache
def _keep_pool(device: int) -> None:
    _raise_for(_library().keep_pool(ctypes.c_int(device)), "keep_pool")


def _launch(name: str, *images: Tensor) -> None:
    """Enqueues a launcher on the current stream."""
    rows, columns = images[0].shape
    pointers = [ctypes.c_void_p(image.data_ptr()) for image in images]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    _raise_for(getattr(_library(), name)(*pointers, ctypes.c_int(rows), ctypes.c_int(columns), stream), name)


def _raise_for(code: int, name: str) -> None:
    if code != 0:
        raise RuntimeError(f"stream_scratch.cu: {name} failed with CUDA error {code}.")
