"""Batches from host memory through a layer: y[i] = data[order[i]] @ w, 8 batches a call, the next one fetched early or not.

data [rows, d] (a weight; its copy in host memory is made once, see host_weight.py, and every call reads that copy),
order [b] int64 within the data, w [d, h] (a weight on the device), y [b, h], float32. One call must gather 4 * b * d bytes on
the host, bring them to the device, and do 2 * b * d * h operations. On a CPU there is no trip, and the threads share cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import host_weight
import torch
from torch import Tensor

BATCHES = 8

_buffers: dict[tuple[object, ...], Tensor] = {}
_loader: list[ThreadPoolExecutor] = []


def reference(data: Tensor, order: Tensor, w: Tensor) -> Tensor:
    """All rows at once in float64."""
    return data[order] @ w


def in_turn(data: Tensor, order: Tensor, w: Tensor, y: Tensor) -> None:
    """Gather a batch, bring it to the device, multiply it, and only then gather the next: a first training loop."""
    source = host_weight.copy_of(data)
    for wanted, out in _batches(order, y):
        torch.mm(source[wanted].to(y.device), w, out=out)


def buffered(data: Tensor, order: Tensor, w: Tensor, y: Tensor) -> None:
    """The same loop with one buffer that is kept, page-locked for a GPU: isolates allocation and the way of the copy."""
    for number, (wanted, out) in enumerate(_batches(order, y)):
        if number and y.is_cuda:
            torch.cuda.current_stream().synchronize()
        part = _gather(data, wanted, 0)
        torch.mm(part.to(y.device, non_blocking=True), w, out=out)
    _wait(y)


def double_buffered(data: Tensor, order: Tensor, w: Tensor, y: Tensor) -> None:
    """Two page-locked buffers: the host gathers into one while the device copies and multiplies the other. CUDA only."""
    free = [torch.cuda.Event() for _ in range(2)]
    for number, (wanted, out) in enumerate(_batches(order, y)):
        free[number % 2].synchronize()
        part = _gather(data, wanted, number % 2)
        torch.mm(part.to(y.device, non_blocking=True), w, out=out)
        free[number % 2].record()
    _wait(y)


def loader_thread(data: Tensor, order: Tensor, w: Tensor, y: Tensor) -> None:
    """A thread gathers the next batch while this one is multiplied, as a data loader's worker does. Needs a core to spare."""
    if not _loader:
        _loader.append(ThreadPoolExecutor(1, thread_name_prefix="loader"))
    batches = list(_batches(order, y))
    coming = _loader[0].submit(_gather, data, batches[0][0], 0)
    for number, (_, out) in enumerate(batches):
        part = coming.result()
        _wait(y)  # the other buffer has been copied from
        if number + 1 < len(batches):
            coming = _loader[0].submit(_gather, data, batches[number + 1][0], (number + 1) % 2)
        torch.mm(part.to(y.device, non_blocking=True), w, out=out)
    _wait(y)


def _batches(order: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows wanted, on the host; where their products go) for each batch."""
    wanted = order.cpu()
    size = -(-wanted.shape[0] // BATCHES)
    return zip(wanted.split(size), y.split(size), strict=True)


def _gather(data: Tensor, wanted: Tensor, which: int) -> Tensor:
    """The rows in one of the kept buffers, in host memory."""
    key = (wanted.shape[0], data.shape[1], which)
    if key not in _buffers:
        _buffers[key] = torch.empty(*key[:2], dtype=data.dtype, pin_memory=data.is_cuda)
    return torch.index_select(host_weight.copy_of(data), 0, wanted, out=_buffers[key])


def _wait(y: Tensor) -> None:
    """Until the device has read the buffers, which the host will write again."""
    if y.is_cuda:
        torch.cuda.current_stream().synchronize()
