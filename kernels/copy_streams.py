"""y = data @ w with data in host memory: brought over whole, in chunks, or in chunks on a stream of their own.

data [rows, d] (a weight; its copy in page-locked memory is made once, see host_weight.py, and every call reads that copy),
w [d, h] new in every call, y [rows, h], float32. One call must bring over 4 * rows * d bytes and do 2 * rows * d * h
operations; the two are about as long as one another. On a CPU "bringing over" is a memcpy into a staging buffer, as from a
file's cache or another process's memory, and the copy engine is a thread.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import host_weight
import torch
from torch import Tensor

CHUNKS = 8
BUFFERS = 2

_stages: dict[tuple[object, ...], Tensor] = {}
_copier: list[ThreadPoolExecutor] = []
_streams: list[torch.cuda.Stream] = []


def reference(data: Tensor, w: Tensor) -> Tensor:
    """The product in float64."""
    return data @ w


def in_turn(data: Tensor, w: Tensor, y: Tensor) -> None:
    """All of it over into a buffer that is kept, then one product. Reasonable: page-locked, and the host waits for nothing."""
    stage = _stage(data.shape[0], data, 0)
    stage.copy_(host_weight.copy_of(data, pinned=True), non_blocking=True)
    torch.mm(stage, w, out=y)


def chunked(data: Tensor, w: Tensor, y: Tensor) -> None:
    """Eight copies and eight products, one behind the other: isolates smaller pieces, which a cache may hold, from overlap."""
    size, parts = _parts(data, y)
    stage = _stage(size, data, 0)
    for source, out in parts:
        torch.mm(stage[: len(source)].copy_(source, non_blocking=True), w, out=out)


def overlapped(data: Tensor, w: Tensor, y: Tensor) -> None:
    """Two buffers: a chunk comes over while the one before it is multiplied. A copy waits until its buffer was read."""
    size, parts = _parts(data, y)
    stages = [_stage(size, data, number) for number in range(BUFFERS)]
    if data.is_cuda:
        _on_two_streams(parts, stages, w)
    else:
        _on_two_threads(parts, stages, w)


def two_workers(data: Tensor, w: Tensor, y: Tensor) -> None:
    """Two streams that each copy and multiply every other chunk, with no events between them. CUDA only."""
    size, parts = _parts(data, y)
    current, streams = torch.cuda.current_stream(), _two_streams()
    for stream in streams:
        stream.wait_stream(current)
    for number, (source, out) in enumerate(parts):
        with torch.cuda.stream(streams[number % BUFFERS]):
            stage = _stage(size, data, number % BUFFERS)
            torch.mm(stage[: len(source)].copy_(source, non_blocking=True), w, out=out)
    for stream in streams:
        current.wait_stream(stream)


def _on_two_streams(parts: list[tuple[Tensor, Tensor]], stages: list[Tensor], w: Tensor) -> None:
    """Copies on a stream of their own, products on the current one; an event each way for every chunk."""
    current, copies = torch.cuda.current_stream(), _two_streams()[0]
    copies.wait_stream(current)
    read = [torch.cuda.Event() for _ in stages]
    for number, (source, out) in enumerate(parts):
        stage = stages[number % BUFFERS][: len(source)]
        copies.wait_event(read[number % BUFFERS])
        with torch.cuda.stream(copies):
            stage.copy_(source, non_blocking=True)
        current.wait_event(copies.record_event())
        torch.mm(stage, w, out=out)
        read[number % BUFFERS].record(current)


def _on_two_threads(parts: list[tuple[Tensor, Tensor]], stages: list[Tensor], w: Tensor) -> None:
    """A thread copies ahead by as many chunks as there are buffers; this one multiplies."""
    if not _copier:
        _copier.append(ThreadPoolExecutor(1, thread_name_prefix="copier"))
    free, full = threading.Semaphore(BUFFERS), threading.Semaphore(0)

    def copy_all() -> None:
        for number, (source, _) in enumerate(parts):
            free.acquire()
            stages[number % BUFFERS][: len(source)].copy_(source)
            full.release()

    copied = _copier[0].submit(copy_all)
    for number, (source, out) in enumerate(parts):
        full.acquire()
        torch.mm(stages[number % BUFFERS][: len(source)], w, out=out)
        free.release()
    copied.result()


def _parts(data: Tensor, y: Tensor) -> tuple[int, list[tuple[Tensor, Tensor]]]:
    """(rows of a chunk, (source in host memory, where its product goes) for each)."""
    size = -(-data.shape[0] // CHUNKS)
    return size, list(zip(host_weight.copy_of(data, pinned=True).split(size), y.split(size), strict=True))


def _two_streams() -> list[torch.cuda.Stream]:
    while len(_streams) < BUFFERS:
        _streams.append(torch.cuda.Stream())
    return _streams


def _stage(rows: int, data: Tensor, number: int) -> Tensor:
    """A buffer on the device, kept from call to call; every call writes it before reading it."""
    key = (data.device, rows, data.shape[1], number)
    if key not in _stages:
        _stages[key] = torch.empty((rows, data.shape[1]), dtype=data.dtype, device=data.device)
    return _stages[key]
