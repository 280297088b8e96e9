"""Decoding steps whose batch changes from step to step, and CUDA graphs, which are made for one shape. CUDA only.

x, y [steps, rows, d], count [steps] int32 from 1 to `rows`, up [layers, d, h], down [layers, h, d] (weights), float32. Step i
sends its first count[i] rows through the layers, y = y + silu(norm(y) up) down; the other rows of y are 0. A step must read
the weights, 8 * layers * d * h bytes, whatever its count: padding costs operations, and few bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

_graphs: dict[tuple[object, ...], dict[int, Bucket]] = {}


@dataclass(frozen=True)
class Bucket:
    """A graph of the layers for one number of rows, with the buffers that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    given: Tensor
    made: Tensor


def reference(x: Tensor, count: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """All rows of all steps in float64, then those from count on set to 0."""
    inside = torch.arange(x.shape[1], device=x.device) < count.unsqueeze(1)
    return torch.where(inside.unsqueeze(2), _layers(x, up, down), 0.0)


def exact(x: Tensor, count: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Each step with the rows that it has, launch by launch. The counts are the scheduler's: the host asks for them once."""
    y.zero_()
    for step, rows in enumerate(count.tolist()):
        y[step, :rows] = _layers(x[step, :rows], up, down)


def padded(x: Tensor, count: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Each step with the next power of two of rows, launch by launch: what the buckets cost by themselves."""
    y.zero_()
    for step, rows in enumerate(count.tolist()):
        y[step, :rows] = _layers(x[step, : _bucket(rows, x.shape[1])], up, down)[:rows]


def one_graph(x: Tensor, count: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A single graph, of the largest shape: no launches, the most padding."""
    _replayed(x, count, up, down, y, [x.shape[1]])


def bucketed(x: Tensor, count: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A graph for each power of two, captured in the first call; a step is copied into the smallest that holds it."""
    sizes = sorted({_bucket(rows, x.shape[1]) for rows in range(1, x.shape[1] + 1)})
    _replayed(x, count, up, down, y, sizes)


def every_size(x: Tensor, count: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A graph for each number of rows: no padding at all, for as many captures and as much memory as there are sizes."""
    _replayed(x, count, up, down, y, list(range(1, x.shape[1] + 1)))


def _layers(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    for wide, narrow in zip(up, down, strict=True):
        x = x + silu(rms_norm(x, x.shape[-1:], eps=1e-6) @ wide) @ narrow
    return x


def _bucket(rows: int, most: int) -> int:
    """The next power of two, at most `most`."""
    return min(1 << (rows - 1).bit_length(), most)


def _replayed(x: Tensor, count: Tensor, up: Tensor, down: Tensor, y: Tensor, sizes: list[int]) -> None:
    """Every step through the smallest graph of `sizes` that holds it. Graphs are bound to the weights' addresses."""
    key = (tuple(sizes), up.data_ptr(), down.data_ptr(), up.shape)
    if key not in _graphs:
        _graphs[key] = {size: _captured(x[0, :size], up, down) for size in sizes}
    y.zero_()
    for step, rows in enumerate(count.tolist()):
        bucket = _graphs[key][next(size for size in sizes if size >= rows)]
        bucket.given[:rows] = x[step, :rows]  # rows past them hold an earlier step's: they are computed and not used
        bucket.graph.replay()
        y[step, :rows] = bucket.made[:rows]


def _captured(like: Tensor, up: Tensor, down: Tensor) -> Bucket:
    """A graph of the layers for as many rows as `like` has. A plain run first loads the kernels."""
    given, graph = torch.zeros_like(like), torch.cuda.CUDAGraph()
    _layers(given, up, down)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin(capture_error_mode="thread_local")
        made = _layers(given, up, down)
        graph.capture_end()
    torch.cuda.synchronize()
    return Bucket(graph, given, made)
