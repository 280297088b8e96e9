"""y = x / sqrt(1 + x * x) for `parts` independent parts of a few numbers each: in one queue, over several, or as one.

x, y [parts, n], float32. One call must read x and write y, 8 * parts * n bytes. A part is four small operations that follow
one another; parts have nothing to do with each other. On CUDA the queues are streams, on a CPU threads: torch operations
let go of the interpreter's lock, but starting one needs it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

STREAMS = 4
THREADS = 2

_streams: list[torch.cuda.Stream] = []
_pool: list[ThreadPoolExecutor] = []
_graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}


def reference(x: Tensor) -> Tensor:
    """The formula in float64."""
    return x / torch.sqrt(1 + x * x)


def one_queue(x: Tensor, y: Tensor) -> None:
    """Part after part in the current stream, four operations in y. Reasonable: no temporaries, nothing to join."""
    for part, out in zip(x, y, strict=True):
        _four_operations(part, out)


def several_queues(x: Tensor, y: Tensor) -> None:
    """Part i goes to queue i modulo their number: 4 streams, or 2 threads. They start behind the current stream and join it."""
    if x.is_cuda:
        _on_streams(x, y)
        return
    if not _pool:
        _pool.append(ThreadPoolExecutor(THREADS, thread_name_prefix="parts"))
    for done in [_pool[0].submit(one_queue, x[i::THREADS], y[i::THREADS]) for i in range(THREADS)]:
        done.result()


def graph_of_branches(x: Tensor, y: Tensor) -> None:
    """The streams' work recorded once a pair of addresses and replayed: isolates the host, which feeds all four. CUDA only."""
    key = (x.data_ptr(), y.data_ptr())
    if key not in _graphs:
        _on_streams(x, y)  # loads the kernels, which a capture could not
        torch.cuda.synchronize()
        _graphs[key] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(_graphs[key], capture_error_mode="thread_local"):
            _on_streams(x, y)
    _graphs[key].replay()


def as_one(x: Tensor, y: Tensor) -> None:
    """Four operations on all parts: no concurrency to arrange, since the device has it within one operation."""
    _four_operations(x, y)


def _on_streams(x: Tensor, y: Tensor) -> None:
    """All streams start behind the current one; it waits for them only when all have been fed."""
    while len(_streams) < STREAMS:
        _streams.append(torch.cuda.Stream())
    current = torch.cuda.current_stream()
    for stream in _streams:
        stream.wait_stream(current)
    for number, (part, out) in enumerate(zip(x, y, strict=True)):
        with torch.cuda.stream(_streams[number % STREAMS]):
            _four_operations(part, out)
    for stream in _streams:
        current.wait_stream(stream)


def _four_operations(x: Tensor, y: Tensor) -> None:
    torch.mul(x, x, out=y)
    y.add_(1.0)
    y.rsqrt_()
    y.mul_(x)
