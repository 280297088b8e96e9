"""Logistic loss of ragged rows: y[i] = sum over j < length[i] of log(1 + exp(x[i, j])). Who takes which row?

x [rows, columns] float32, length [rows] int32 with heavy tails (a few rows are most of the work), y [rows] float32.
One call reads 4 bytes for each element within a length. On a CPU the workers are threads (torch operations let go of
the interpreter's lock), on CUDA they are the resident programs of a Triton kernel, four for each multiprocessor.
rows * columns must be below 2**31.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # on a CPU threads do the work
    triton = None

THREADS = min(4, max(2, os.cpu_count() or 1))
PROGRAMS_PER_PROCESSOR = 4
BLOCK = 1024

_pools: list[ThreadPoolExecutor] = []
_of_thread = threading.local()
_counters: dict[torch.device, Tensor] = {}


def reference(x: Tensor, length: Tensor) -> Tensor:
    """All elements in float64, those beyond a row's length left out."""
    inside = torch.arange(x.shape[1], device=x.device) < length.unsqueeze(1)
    return torch.where(inside, torch.logaddexp(x, torch.zeros_like(x)), 0).sum(dim=1)


def static_split(x: Tensor, length: Tensor, y: Tensor) -> None:
    """Each worker takes the same number of neighbouring rows."""
    if x.is_cuda:
        launch_static(x, length, y, _programs(x), cyclic=False)
        return
    share = -(-x.shape[0] // THREADS)
    _on_threads(x, length, y, [range(i * share, min((i + 1) * share, x.shape[0])) for i in range(THREADS)])


def cyclic(x: Tensor, length: Tensor, y: Tensor) -> None:
    """Each worker takes every n-th row: still decided beforehand, isolates the order from the queue."""
    if x.is_cuda:
        launch_static(x, length, y, _programs(x), cyclic=True)
        return
    _on_threads(x, length, y, [range(i, x.shape[0], THREADS) for i in range(THREADS)])


def dynamic_queue(x: Tensor, length: Tensor, y: Tensor) -> None:
    """Each worker takes the next row from a shared counter when it is free; resetting the counter is part of the call."""
    if x.is_cuda:
        launch_queue(x, length, y, _programs(x))
        return
    _on_threads(x, length, y, _shared(range(x.shape[0])))


def longest_first(x: Tensor, length: Tensor, y: Tensor) -> None:
    """A queue in order of falling length, so that no long row is left for the end. CPU only."""
    _on_threads(x, length, y, _shared(torch.argsort(length, descending=True).tolist()))


def row_per_program(x: Tensor, length: Tensor, y: Tensor) -> None:
    """One program a row, and the hardware's block scheduler as the queue. CUDA only."""
    launch_static(x, length, y, x.shape[0], cyclic=False)


def _shared(rows: Iterable[int]) -> list[Iterable[int]]:
    """The same iterator for every thread; taking the next item is atomic under the interpreter's lock."""
    queue = iter(list(rows))
    return list(itertools.repeat(queue, THREADS))


def _on_threads(x: Tensor, length: Tensor, y: Tensor, shares: Sequence[Iterable[int]]) -> None:
    """Works through one share of rows a thread; returns when all are done and raises what a thread raised."""
    if not _pools:
        _pools.append(ThreadPoolExecutor(THREADS, thread_name_prefix="work_queue"))
    lengths = length.tolist()
    for future in [_pools[0].submit(_rows_on_cpu, x, lengths, y, share) for share in shares]:
        future.result()


def _rows_on_cpu(x: Tensor, lengths: list[int], y: Tensor, rows: Iterable[int]) -> None:
    """log(1 + exp(x)) is logaddexp(x, 0), in the thread's own buffer: a new one a row means page faults, which are shared."""
    if getattr(_of_thread, "columns", -1) < x.shape[1]:
        _of_thread.loss, _of_thread.zero, _of_thread.columns = torch.empty(x.shape[1]), torch.zeros(()), x.shape[1]
    for row in rows:
        loss = _of_thread.loss[: lengths[row]]
        torch.logaddexp(x[row, : lengths[row]], _of_thread.zero, out=loss)
        torch.sum(loss, dim=0, out=y[row])


def _programs(x: Tensor) -> int:
    return PROGRAMS_PER_PROCESSOR * torch.cuda.get_device_properties(x.device).multi_processor_count


if triton is not None:

    @triton.jit
    def static_kernel(x_ptr, length_ptr, y_ptr, rows, columns, share, CYCLIC: tl.constexpr, BLOCK: tl.constexpr):
        """`share` neighbouring rows a program, or every n-th row of n programs when CYCLIC."""
        first = tl.program_id(0) * share
        last = tl.minimum(first + share, rows)
        step = 1
        if CYCLIC:
            first = tl.program_id(0)
            last = rows
            step = tl.num_programs(0)
        for row in range(first, last, step):
            length = tl.load(length_ptr + row)
            total = tl.zeros((BLOCK,), tl.float32)
            for start in range(0, length, BLOCK):
                at = start + tl.arange(0, BLOCK)
                x = tl.load(x_ptr + row * columns + at, mask=at < length, other=0.0)
                loss = tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))
                total += tl.where(at < length, loss, 0.0)
            tl.store(y_ptr + row, tl.sum(total, axis=0))

    @triton.jit
    def queue_kernel(x_ptr, length_ptr, y_ptr, counter_ptr, rows, columns, BLOCK: tl.constexpr):
        """The next row from the counter, until there is none. The counter must be 0 at the start."""
        row = tl.atomic_add(counter_ptr, 1)
        while row < rows:
            length = tl.load(length_ptr + row)
            total = tl.zeros((BLOCK,), tl.float32)
            for start in range(0, length, BLOCK):
                at = start + tl.arange(0, BLOCK)
                x = tl.load(x_ptr + row * columns + at, mask=at < length, other=0.0)
                loss = tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))
                total += tl.where(at < length, loss, 0.0)
            tl.store(y_ptr + row, tl.sum(total, axis=0))
            row = tl.atomic_add(counter_ptr, 1)


def launch_static(x: Tensor, length: Tensor, y: Tensor, programs: int, cyclic: bool) -> None:
    """static_kernel on `programs` programs."""
    rows, columns = x.shape
    share = triton.cdiv(rows, programs)
    static_kernel[(programs,)](x, length, y, rows, columns, share, CYCLIC=cyclic, BLOCK=BLOCK)


def launch_queue(x: Tensor, length: Tensor, y: Tensor, programs: int) -> None:
    """queue_kernel on `programs` programs, after setting the counter to 0."""
    rows, columns = x.shape
    counter = _counters.setdefault(x.device, torch.zeros(1, dtype=torch.int32, device=x.device))
    counter.zero_()
    queue_kernel[(programs,)](x, length, y, counter, rows, columns, BLOCK=BLOCK)
