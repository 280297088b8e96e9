"""A chain of four elementwise passes, y = x / sqrt(1 + x * x), done chunk by chunk: how long should a chunk be?

x and y [n], float32. One call must read x and write y, 8 * n bytes. A short chunk stays in a cache between the four
passes but is started more often; the best length depends on the machine, which a constant in a source file cannot know.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

CHUNK = 16384
"""Elements: x and y of a chunk take 128 KiB, within the second-level cache of any current CPU core."""
CANDIDATES = (4096, 16384, 65536, 262144, 1048576)
TRIES = 3

_chosen: dict[tuple[object, ...], int] = {}


def reference(x: Tensor) -> Tensor:
    """The formula in float64."""
    return x / torch.sqrt(1 + x * x)


def fixed(x: Tensor, y: Tensor) -> None:
    """Chunks of the constant length."""
    _in_chunks(CHUNK, x, y)


def whole(x: Tensor, y: Tensor) -> None:
    """No chunks: four passes over everything."""
    _in_chunks(x.shape[0], x, y)


def tuned(x: Tensor, y: Tensor) -> None:
    """Chunks of the length that was quickest here, of five, when a size was first seen.

    The search runs once a size, in the first (untimed) call; it costs 15 calls and may be wrong on a noisy machine.
    """
    key = (x.device, x.shape[0])
    if key not in _chosen:
        _chosen[key] = min(CANDIDATES, key=lambda chunk: _quickest_ns(chunk, x, y))
    _in_chunks(_chosen[key], x, y)


def _in_chunks(chunk: int, x: Tensor, y: Tensor) -> None:
    for start in range(0, x.shape[0], chunk):
        source, out = x[start : start + chunk], y[start : start + chunk]
        torch.mul(source, source, out=out)
        out.add_(1).sqrt_()
        torch.div(source, out, out=out)


def _quickest_ns(chunk: int, x: Tensor, y: Tensor) -> int:
    """Shortest of a few calls, ns, from call to finished."""
    best = 1 << 62
    for _ in range(TRIES):
        start = time.perf_counter_ns()
        _in_chunks(chunk, x, y)
        if x.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter_ns() - start)
    return best
