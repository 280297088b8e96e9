"""Calls of the C launchers that the CUDA C++ files in this folder export."""

from __future__ import annotations

import ctypes
import functools
import os

import torch
from torch import Tensor


def launch(library: str, launcher: str, *arguments: Tensor | int | float) -> None:
    """Enqueues a launcher of LIBRARY.cu on the current stream. Raises RuntimeError with CUDA's error code.

    A tensor is passed as its address, an int as a 64-bit integer, a float as a float, and the stream last.
    """
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    code = getattr(_library(library), launcher)(*(_passed(a) for a in arguments), stream)
    if code != 0:
        shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments]
        raise RuntimeError(f"{library}.cu: {launcher} failed with CUDA error {code} for {shapes}.")


@functools.cache
def _library(name: str) -> ctypes.CDLL:
    """The library that the runner built from NAME.cu."""
    return ctypes.CDLL(os.path.join(os.environ["AISP_BUILD_DIR"], f"{name}.so"))


def _passed(argument: Tensor | int | float) -> ctypes.c_void_p | ctypes.c_longlong | ctypes.c_float:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_longlong(argument) if isinstance(argument, int) else ctypes.c_float(argument)
