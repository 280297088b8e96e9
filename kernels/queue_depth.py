"""y[i] = table[index[i]] for a table on disk, read past the page cache: how many reads should wait at once?

table [rows, d] (a weight; its bytes are in a file, see weight_file.py), index [k] int64 within the table, y [k, d],
float32. One call reads k rows of 4 * d bytes; d is a multiple of 1024, so a row is whole blocks of the file. One read has the
disk's latency, whatever its length up to a few blocks; a disk answers many at once. Only `cached` may be answered from memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
import weight_file
from torch import Tensor

_pools: dict[int, ThreadPoolExecutor] = {}
_rows: dict[tuple[int, ...], Tensor] = {}


def reference(table: Tensor, index: Tensor) -> Tensor:
    """The rows; nothing is rounded."""
    return table[index]


def one_at_a_time(table: Tensor, index: Tensor, y: Tensor) -> None:
    """A loop of reads, each waited for: what a loop over an index gives when nothing else is asked for."""
    _direct(1, table, index, y)


def in_file_order(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The same loop with the rows sorted: matters to a disk that has a head, or that reads ahead."""
    order = torch.argsort(index)
    landing = _landing(y)
    _read(landing, table, index[order], os.O_RDONLY | os.O_DIRECT, 1)
    y[order] = landing


def four_at_once(table: Tensor, index: Tensor, y: Tensor) -> None:
    """Four threads with every fourth row each, so that four reads wait at once."""
    _direct(4, table, index, y)


def sixteen_at_once(table: Tensor, index: Tensor, y: Tensor) -> None:
    """Sixteen threads."""
    _direct(16, table, index, y)


def cached(table: Tensor, index: Tensor, y: Tensor) -> None:
    """One at a time through the page cache, straight into y: the same system calls without the disk."""
    _read(y, table, index, os.O_RDONLY, 1)


def _direct(depth: int, table: Tensor, index: Tensor, y: Tensor) -> None:
    landing = _landing(y)
    _read(landing, table, index, os.O_RDONLY | os.O_DIRECT, depth)
    y.copy_(landing)


def _read(into: Tensor, table: Tensor, index: Tensor, flags: int, depth: int) -> None:
    """Row index[i] of the file to into[i]; returns when all are read and raises what a thread raised."""
    size = 4 * table.shape[1]
    jobs = list(zip(into, index.tolist(), strict=True))
    file = os.open(weight_file.path_of(table), flags)
    try:
        if depth == 1:
            _each(file, iter(jobs), size)
            return
        if depth not in _pools:
            _pools[depth] = ThreadPoolExecutor(depth, thread_name_prefix="reader")
        for future in [_pools[depth].submit(_each, file, iter(jobs[i::depth]), size) for i in range(depth)]:
            future.result()
    finally:
        os.close(file)


def _each(file: int, jobs: Iterator[tuple[Tensor, int]], size: int) -> None:
    for row, number in jobs:
        weight_file.read_at(file, row, number * size)


def _landing(y: Tensor) -> Tensor:
    """Rows at page starts, as O_DIRECT needs; kept between calls, and every call fills it."""
    key = tuple(y.shape)
    if key not in _rows:
        _rows[key] = weight_file.aligned(y.numel()).view(y.shape)
    return _rows[key]
