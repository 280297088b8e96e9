"""y = w @ x for a matrix that lies in a file, as in a model whose layers do not fit into memory.

w [m, k] (a weight; its bytes are in a file, see weight_file.py, and every call reads them from there), x [k], y [m],
float32. One call must read 4 * m * k bytes of the file. The variants never look at the tensor w itself but for its shape;
nothing but their text holds them to that. The file lies in the page cache, so only the `direct` variants touch the disk.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import weight_file
from torch import Tensor

CHUNK_BYTES = {"cpu": 512 << 10, "cuda": 8 << 20}
"""Half of a 1 MiB second-level cache; on CUDA long enough (0.15 ms at 55 GB/s) for the start of a copy not to count."""

_buffers: dict[tuple[object, ...], Tensor] = {}
_mapped: dict[str, Tensor] = {}
_reader: list[ThreadPoolExecutor] = []


def reference(w: Tensor, x: Tensor) -> Tensor:
    """The product in float64."""
    return w @ x


def read_whole(w: Tensor, x: Tensor, y: Tensor) -> None:
    """numpy reads the file into a new array, which goes to the device: two lines, and right."""
    weights = torch.from_numpy(np.fromfile(weight_file.path_of(w), np.float32, w.numel()))
    torch.mv(weights.view(w.shape).to(w.device), x, out=y)


def reused(w: Tensor, x: Tensor, y: Tensor) -> None:
    """The same read into a buffer that is kept: isolates allocation."""
    torch.mv(_whole(w, pinned=False).to(w.device), x, out=y)


def pinned(w: Tensor, x: Tensor, y: Tensor) -> None:
    """A buffer that is kept and page-locked, so that the device copies from it without a detour. CUDA only."""
    torch.mv(_whole(w, pinned=True).to(w.device, non_blocking=True), x, out=y)


def mapped_anew(w: Tensor, x: Tensor, y: Tensor) -> None:
    """The file is mapped for the call: no copy out of the page cache, a page fault for every 16 pages instead."""
    weights = torch.from_file(weight_file.path_of(w), shared=False, size=w.numel(), dtype=torch.float32)
    torch.mv(weights.view(w.shape).to(w.device), x, out=y)


def mapped(w: Tensor, x: Tensor, y: Tensor) -> None:
    """The mapping is kept: the page cache is memory like any other, and reading the file is no step of its own."""
    path = weight_file.path_of(w)
    if path not in _mapped:
        _mapped.clear()
        _mapped[path] = torch.from_file(path, shared=False, size=w.numel(), dtype=torch.float32)
    torch.mv(_mapped[path].view(w.shape).to(w.device), x, out=y)


def chunked(w: Tensor, x: Tensor, y: Tensor) -> None:
    """A few rows at a time into one small buffer, which is still in the cache when it is multiplied. CPU only."""
    _in_chunks(w, x, y, os.O_RDONLY, ahead=False)


def direct(w: Tensor, x: Tensor, y: Tensor) -> None:
    """The same loop past the page cache (O_DIRECT): what the file costs when memory does not hold it. CPU only."""
    _in_chunks(w, x, y, os.O_RDONLY | os.O_DIRECT, ahead=False)


def direct_ahead(w: Tensor, x: Tensor, y: Tensor) -> None:
    """As direct, with a thread that reads the next rows while these are multiplied. CPU only."""
    _in_chunks(w, x, y, os.O_RDONLY | os.O_DIRECT, ahead=True)


def overlapped(w: Tensor, x: Tensor, y: Tensor) -> None:
    """Two page-locked buffers: the host reads into one while the device copies and multiplies the other. CUDA only."""
    m, k = w.shape
    step = _rows(w)
    buffers = [_buffer(step * k, pinned=True, of=("half", i)) for i in range(2)]
    free = [torch.cuda.Event() for _ in buffers]
    with open(weight_file.path_of(w), "rb") as file:
        for number, start in enumerate(range(0, m, step)):
            rows = min(step, m - start)
            part, event = buffers[number % 2][: rows * k], free[number % 2]
            event.synchronize()
            weight_file.read_at(file.fileno(), part, 4 * start * k)
            torch.mv(part.view(rows, k).to(w.device, non_blocking=True), x, out=y[start : start + rows])
            event.record()
    for event in free:  # the buffers are written by the next call's reads, which no stream orders
        event.synchronize()


def _whole(w: Tensor, pinned: bool) -> Tensor:
    """The file in a kept buffer, [m, k]. A copy that is still reading the buffer is waited for."""
    weights = _buffer(w.numel(), pinned, of=("whole",))
    if pinned:
        torch.cuda.current_stream().synchronize()
    with open(weight_file.path_of(w), "rb") as file:
        weight_file.read_at(file.fileno(), weights, 0)
    return weights.view(w.shape)


def _in_chunks(w: Tensor, x: Tensor, y: Tensor, flags: int, ahead: bool) -> None:
    m, k = w.shape
    step = _rows(w)
    size = -(-step * k * 4 // weight_file.BLOCK) * weight_file.BLOCK // 4
    buffers = [_buffer(size, pinned=False, of=("half", i)) for i in range(2)]
    starts = range(0, m, step)
    if ahead and not _reader:
        _reader.append(ThreadPoolExecutor(1, thread_name_prefix="reader"))
    file = os.open(weight_file.path_of(w), flags)
    try:
        coming = _reader[0].submit(_fill, file, buffers[0], 0, w, step) if ahead else None
        for number, start in enumerate(starts):
            part = buffers[number % 2 if ahead else 0]
            if coming is None:
                _fill(file, part, start, w, step)
            else:
                coming.result()
                if start + step < m:
                    coming = _reader[0].submit(_fill, file, buffers[(number + 1) % 2], start + step, w, step)
            rows = min(step, m - start)
            torch.mv(part[: rows * k].view(rows, k), x, out=y[start : start + rows])
    finally:
        os.close(file)


def _fill(file: int, part: Tensor, start: int, w: Tensor, step: int) -> None:
    """Rows from `start` on, at most `step` of them, in whole blocks."""
    m, k = w.shape
    length = -(-min(step, m - start) * k * 4 // weight_file.BLOCK) * weight_file.BLOCK // 4
    weight_file.read_at(file, part[:length], 4 * start * k)


def _rows(w: Tensor) -> int:
    """Rows of a chunk: about CHUNK_BYTES, and so many that every chunk begins at a whole block of the file."""
    row = 4 * w.shape[1]
    multiple = weight_file.BLOCK // math.gcd(weight_file.BLOCK, row)
    return max(1, CHUNK_BYTES[w.device.type] // (row * multiple)) * multiple


def _buffer(count: int, pinned: bool, of: tuple[object, ...]) -> Tensor:
    """Host memory that is kept between calls; every call fills it before it reads it."""
    key = (count, pinned, *of)
    if key not in _buffers:
        _buffers[key] = torch.empty(count, pin_memory=True) if pinned else weight_file.aligned(count)
    return _buffers[key]
