"""Each part divided by its own length, y[i] = x[i] / |x[i]|: two stages, and who waits for whom between them.

x, y [parts, n], float32. One call must read x and write y, 8 * parts * n bytes, and reads x a second time where a part does
not stay in a cache, as its length is only known at its end. On a GPU the first stage of a part may leave multiprocessors
empty, in which another part's second stage could run. On a CPU the stages are threads.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_lengths: dict[tuple[object, ...], Tensor] = {}
_streams: list[torch.cuda.Stream] = []
_first_stage: list[ThreadPoolExecutor] = []


def reference(x: Tensor) -> Tensor:
    """Parts of length 1, in float64."""
    return x / x.norm(dim=1, keepdim=True)


def alternating(x: Tensor, y: Tensor) -> None:
    """One queue: a part's length, then its division, part after part. Nothing to wait for, and a part is still in the cache."""
    for part, length, out in zip(x, _buffer(x), y, strict=True):
        torch.linalg.vector_norm(part, out=length)
        torch.div(part, length, out=out)


def stage_by_stage(x: Tensor, y: Tensor) -> None:
    """One queue: all lengths, then all divisions: isolates the order from concurrency."""
    lengths = _buffer(x)
    for part, length in zip(x, lengths, strict=True):
        torch.linalg.vector_norm(part, out=length)
    for part, length, out in zip(x, lengths, y, strict=True):
        torch.div(part, length, out=out)


def with_events(x: Tensor, y: Tensor) -> None:
    """Lengths in a queue of their own, and an event a part: a division starts as soon as its length is there."""
    (_streams_with_events if x.is_cuda else _threads_with_events)(x, y)


def host_waits(x: Tensor, y: Tensor) -> None:
    """The same two queues, but the host waits for each length before it starts the division. CUDA only."""
    current, ahead = torch.cuda.current_stream(), _side_stream()
    ahead.wait_stream(current)
    for part, length, out in zip(x, _buffer(x), y, strict=True):
        with torch.cuda.stream(ahead):
            torch.linalg.vector_norm(part, out=length)
        ahead.synchronize()
        torch.div(part, length, out=out)


def as_one(x: Tensor, y: Tensor) -> None:
    """Both stages on all parts at once: two operations, one queue."""
    lengths = _buffer(x)
    torch.linalg.vector_norm(x, dim=1, out=lengths)
    torch.div(x, lengths.unsqueeze(1), out=y)


def library(x: Tensor, y: Tensor) -> None:
    """torch.nn.functional.normalize, which does the same two operations and guards against a length of 0."""
    torch.nn.functional.normalize(x, dim=1, out=y)


def _streams_with_events(x: Tensor, y: Tensor) -> None:
    current, ahead = torch.cuda.current_stream(), _side_stream()
    ahead.wait_stream(current)
    for part, length, out in zip(x, _buffer(x), y, strict=True):
        with torch.cuda.stream(ahead):
            torch.linalg.vector_norm(part, out=length)
        current.wait_event(ahead.record_event())
        torch.div(part, length, out=out)


def _threads_with_events(x: Tensor, y: Tensor) -> None:
    """A thread makes lengths in order and counts them in a semaphore, which is an event a part; this thread divides."""
    if not _first_stage:
        _first_stage.append(ThreadPoolExecutor(1, thread_name_prefix="lengths"))
    lengths, there = _buffer(x), threading.Semaphore(0)

    def make() -> None:
        for part, length in zip(x, lengths, strict=True):
            torch.linalg.vector_norm(part, out=length)
            there.release()

    made = _first_stage[0].submit(make)
    for part, length, out in zip(x, lengths, y, strict=True):
        there.acquire()
        torch.div(part, length, out=out)
    made.result()


def _side_stream() -> torch.cuda.Stream:
    if not _streams:
        _streams.append(torch.cuda.Stream())
    return _streams[0]


def _buffer(x: Tensor) -> Tensor:
    """A length a part, kept from call to call; every call writes it before reading it."""
    key = (x.device, x.shape[0])
    if key not in _lengths:
        _lengths[key] = torch.empty(x.shape[0], dtype=x.dtype, device=x.device)
    return _lengths[key]
