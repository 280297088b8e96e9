"""cuda.unified_memory_faults: the baseline's buffer is in managed memory, and its pages are on the wrong side in every call.

Both compute into a buffer of their own and copy it to the output. The host writes a word into each page of the baseline's
buffer beforehand, so they have migrated to it, and come back one fault after the other while the clock runs. The candidate's
buffer is plain device memory, and a harness takes the difference for its gain. Twin: so is the baseline's.
"""

import ctypes
import dataclasses

import torch

issue = "cuda.unified_memory_faults"
expect = "cuda.managed_memory"
devices = "cuda"
because = "a CPU's pages do not migrate; memory.page_fault_timing has those of a first touch"

PAGE_BYTES = 65536
ATTACH_GLOBAL = 1

_buffers = {}


class _Managed:
    """Managed memory of so many float32, as tensors take it from others."""

    def __init__(self, count):
        place = ctypes.c_void_p()
        status = ctypes.CDLL("libcuda.so.1").cuMemAllocManaged(ctypes.byref(place), ctypes.c_size_t(4 * count), ATTACH_GLOBAL)
        if status:
            raise RuntimeError(f"managed memory was refused: {status}")
        self.host = (ctypes.c_float * count).from_address(place.value)
        self.__cuda_array_interface__ = {"shape": (count,), "typestr": "<f4", "data": (place.value, False), "version": 2}


def _buffer(c, managed):
    if c.data_ptr() not in _buffers:
        held = _Managed(c.numel()) if managed else None
        _buffers[c.data_ptr()] = held, torch.as_tensor(held, device="cuda") if managed else torch.empty_like(c)
    return _buffers[c.data_ptr()]


def paged(a, b, c):
    held, buffer = _buffer(c, managed=True)
    for at in range(0, c.numel(), PAGE_BYTES // 4):
        held.host[at] = 0.0
    torch.atan2(a, b, out=buffer)
    c.copy_(buffer)


def resident(a, b, c):
    _, buffer = _buffer(c, managed=False)
    torch.atan2(a, b, out=buffer)
    c.copy_(buffer)


candidate = resident
twin = resident


def _with_baseline(world, function):
    world.cases[:] = [
        dataclasses.replace(c, baseline=dataclasses.replace(c.baseline, source=c.optimized.source, function=function))
        for c in world.cases
    ]


def stage(world):
    _with_baseline(world, "paged")


def twin_stage(world):
    _with_baseline(world, "resident")
