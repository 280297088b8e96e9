"""y[i] = cos(3 x[i]) exp(-x[i]^2 / 2) for `parts` parts, each with a temporary: whose memory is it when several queues work?

x, y [parts, n], float32. One call must read x and write y, 8 * parts * n bytes; a part's bell curve waits in a temporary of
4 * n bytes. On CUDA the queues are two streams: torch's allocator keeps a pool a stream, and memory that another stream used
may only be given out again when that stream is known to be done with it. On a CPU they are two threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

QUEUES = 2

_pool: list[ThreadPoolExecutor] = []
_streams: list[torch.cuda.Stream] = []
_kept: dict[tuple[object, ...], Tensor] = {}


def reference(x: Tensor) -> Tensor:
    """The formula in float64."""
    return torch.cos(3.0 * x) * torch.exp(-0.5 * x * x)


def fresh(x: Tensor, y: Tensor) -> None:
    """One queue, a new temporary a part. Reasonable: in one queue the allocator can give the same memory out again at once."""
    for part, out in zip(x, y, strict=True):
        _wavelet(part, torch.empty_like(part), out)


def kept(x: Tensor, y: Tensor) -> None:
    """One queue, one temporary that is kept: isolates allocation."""
    _in_one_buffer(x, _buffer(x, 0), y)


def queues_with_fresh(x: Tensor, y: Tensor) -> None:
    """Two queues that ask for a new temporary a part; on CUDA each from its stream's own pool."""
    if x.is_cuda:
        _on_streams(x, y, lambda part, _: torch.empty_like(part))
    else:
        _on_threads(lambda number: fresh(x[number::QUEUES], y[number::QUEUES]))


def queues_with_own(x: Tensor, y: Tensor) -> None:
    """Two queues, each with a temporary of its own that is kept: no allocation, and nobody to share it with."""
    buffers = [_buffer(x, number) for number in range(QUEUES)]
    if x.is_cuda:
        _on_streams(x, y, lambda _, number: buffers[number])
    else:
        _on_threads(lambda number: _in_one_buffer(x[number::QUEUES], buffers[number], y[number::QUEUES]))


def queues_with_lent(x: Tensor, y: Tensor) -> None:
    """Temporaries of the current stream, lent to the two by record_stream, which has to look later whether they are back.
    CUDA only."""
    current = torch.cuda.current_stream()

    def lent(part: Tensor, number: int) -> Tensor:
        with torch.cuda.stream(current):
            temporary = torch.empty_like(part)
        temporary.record_stream(_streams[number])
        return temporary

    _on_streams(x, y, lent)


def _on_streams(x: Tensor, y: Tensor, temporary: Callable[[Tensor, int], Tensor]) -> None:
    """Part i on stream i modulo 2, behind the current stream, which waits for both in the end."""
    while len(_streams) < QUEUES:
        _streams.append(torch.cuda.Stream())
    current = torch.cuda.current_stream()
    for stream in _streams:
        stream.wait_stream(current)
    for i, (part, out) in enumerate(zip(x, y, strict=True)):
        with torch.cuda.stream(_streams[i % QUEUES]):
            _wavelet(part, temporary(part, i % QUEUES), out)
    for stream in _streams:
        current.wait_stream(stream)


def _on_threads(share: Callable[[int], None]) -> None:
    """share(0) and share(1) at the same time; returns when both are done and raises what one raised."""
    if not _pool:
        _pool.append(ThreadPoolExecutor(QUEUES, thread_name_prefix="parts"))
    for done in [_pool[0].submit(share, number) for number in range(QUEUES)]:
        done.result()


def _in_one_buffer(x: Tensor, buffer: Tensor, y: Tensor) -> None:
    for part, out in zip(x, y, strict=True):
        _wavelet(part, buffer, out)


def _wavelet(x: Tensor, temporary: Tensor, y: Tensor) -> None:
    """Six operations; the bell curve is in the temporary while the wave is made."""
    torch.mul(x, x, out=temporary)
    temporary.mul_(-0.5).exp_()
    torch.mul(x, 3.0, out=y)
    y.cos_().mul_(temporary)


def _buffer(x: Tensor, number: int) -> Tensor:
    """A part's temporary, kept from call to call; every call writes it before reading it."""
    key = (x.device, x.shape[1], number)
    if key not in _kept:
        _kept[key] = torch.empty(x.shape[1], dtype=x.dtype, device=x.device)
    return _kept[key]
