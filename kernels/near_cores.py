"""Rows from host memory, y[i] = table[index[i]], gathered by a thread near to the GPU, far from it, or anywhere. CUDA only.

table [rows, d] (a weight; its copy in host memory is made once for each place, see host_weight.py), index [k] int64 within
the table, y [k, d], float32. One call must gather 4 * k * d bytes on the host and bring them to the device. Memory belongs to
the node of the core that first touches it, so binding the thread before it makes its buffers places both. On a machine with
one NUMA node near and far are the same cores, and all variants should be SAME.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import host_weight
import torch
from torch import Tensor

_pools: dict[str, ThreadPoolExecutor] = {}
_staged: dict[tuple[object, ...], Tensor] = {}


def reference(table: Tensor, index: Tensor) -> Tensor:
    """The rows; nothing is rounded."""
    return table[index]


def anywhere(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The thread runs, and its memory lies, where the scheduler happened to start it."""
    _fetch("anywhere", table, index, y)


def near(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The thread is bound to the cores that the kernel lists as the GPU's own, before it touches any memory."""
    _fetch("near", table, index, y)


def far(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The thread is bound to the other cores: the control, whose bytes all cross the link between the sockets."""
    _fetch("far", table, index, y)


def local_cores(text: str) -> set[int]:
    """The cores of a kernel's list such as "0-3,8"; none for an empty one."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            cores |= set(range(int(first), int(last or first) + 1))
    return cores


def _fetch(place: str, table: Tensor, index: Tensor, y: Tensor) -> None:
    if place not in _pools:
        _pools[place] = ThreadPoolExecutor(1, place, _bind, (place, y.device))
    _pools[place].submit(_gather, place, table, index, y, torch.cuda.current_stream()).result()


def _gather(place: str, table: Tensor, index: Tensor, y: Tensor, stream: torch.cuda.Stream) -> None:
    """The rows into page-locked memory and from there to y; on the caller's stream, since each thread has one of its own."""
    key = (place, *y.shape)
    if key not in _staged:
        _staged[key] = torch.empty(y.shape, dtype=y.dtype, pin_memory=True)
    with torch.cuda.stream(stream):
        wanted = index.cpu()  # waits for the stream, so the last call's copy has left the buffer
        torch.index_select(host_weight.copy_of(table, place=place), 0, wanted, out=_staged[key])
        y.copy_(_staged[key], non_blocking=True)


def _bind(place: str, device: torch.device) -> None:
    """Binds the calling thread, and by inheritance the threads that torch starts for it."""
    if place == "anywhere":
        return
    found = torch.cuda.get_device_properties(device)
    name = f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
    usable = os.sched_getaffinity(0)
    own = local_cores(Path(f"/sys/bus/pci/devices/{name}/local_cpulist").read_text(encoding="utf-8")) & usable
    others = usable - own
    os.sched_setaffinity(0, (own if place == "near" else others) or usable)
