"""A tensor leaves for host memory and comes back, as an activation does that is kept for a backward pass: y = x.

x, y [n], float32. One call must read 4 * n bytes of the device, write them into host memory, and bring them back. On CUDA that
is two trips over PCIe (64 GB/s each way, fifth generation); on a CPU "host memory" is a buffer of its own and a trip is a
memcpy. That the bytes were in host memory is in the variants' text alone; the runner can only see that y is x.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNKS = 8
CACHED = 65536
"""Elements of a block that is still in a core's second-level cache when it is copied back: 256 KiB."""

_buffers: dict[tuple[int, bool], Tensor] = {}
_streams: list[torch.cuda.Stream] = []


def reference(x: Tensor) -> Tensor:
    """The same values; nothing is rounded."""
    return x.clone()


def pageable(x: Tensor, y: Tensor) -> None:
    """A new host tensor for every trip; the driver copies it piece by piece through a page-locked buffer of its own."""
    host = torch.empty(x.shape, dtype=x.dtype)
    host.copy_(x)
    y.copy_(host)


def reused(x: Tensor, y: Tensor) -> None:
    """The same copies through a buffer that is kept: isolates allocation."""
    host = _host(x, pinned=False)
    host.copy_(x)
    y.copy_(host)


def blocked(x: Tensor, y: Tensor) -> None:
    """A small part at a time through one small buffer, which stays in the cache. CPU only."""
    n = x.shape[0]
    host = _host(x, pinned=False)[:CACHED]
    for start in range(0, n, CACHED):
        part = host[: min(CACHED, n - start)]
        part.copy_(x[start : start + CACHED])
        y[start : start + CACHED].copy_(part)


def pinned(x: Tensor, y: Tensor) -> None:
    """Page-locked memory: the device copies by itself, in one piece, while the host goes on. CUDA only."""
    host = _host(x, pinned=True)
    host.copy_(x, non_blocking=True)
    y.copy_(host, non_blocking=True)


def both_ways(x: Tensor, y: Tensor) -> None:
    """In 8 parts on two streams: one comes back while the next one leaves, since PCIe works both ways at once. CUDA only."""
    host = _host(x, pinned=True)
    while len(_streams) < 2:
        _streams.append(torch.cuda.Stream())
    current, (leaving, returning) = torch.cuda.current_stream(), _streams
    leaving.wait_stream(current)
    for source, between, target in zip(x.chunk(CHUNKS), host.chunk(CHUNKS), y.chunk(CHUNKS), strict=True):
        with torch.cuda.stream(leaving):
            between.copy_(source, non_blocking=True)
        returning.wait_event(leaving.record_event())
        with torch.cuda.stream(returning):
            target.copy_(between, non_blocking=True)
    current.wait_stream(leaving)
    current.wait_stream(returning)


def _host(x: Tensor, pinned: bool) -> Tensor:
    """Host memory that is kept between calls; every call writes it before reading it."""
    key = (x.shape[0], pinned)
    if key not in _buffers:
        _buffers[key] = torch.empty(x.shape, dtype=x.dtype, pin_memory=pinned)
    return _buffers[key]
