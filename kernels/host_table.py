"""Rows of a table that is too large for the device: y[i] = table[index[i]], the table in host memory. CUDA only.

table [rows, d] (a weight; the first call copies it to host memory, and no call reads it on the device), index [k] int64
within the table, y [k, d], float32. One call must bring 4 * k * d bytes over the link (PCIe: 64 GB/s; NVLink-C2C of a
Grace: 450 GB/s). Which way is best depends on how many bytes a call wants.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

_tables: dict[tuple[int, bool], tuple[weakref.ref[Tensor], Tensor]] = {}
_staged: dict[tuple[object, ...], Tensor] = {}


def reference(table: Tensor, index: Tensor) -> Tensor:
    """The rows; nothing is rounded."""
    return table[index]


def gathered(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The index goes to the host, which gathers the rows into a new tensor, and that goes to the device."""
    y.copy_(_in_host_memory(table, pinned=False)[index.cpu()])


def staged(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The same through page-locked buffers that are kept: isolates allocation and the driver's detour from the gather."""
    key = (tuple(y.shape), index.shape[0])
    if key not in _staged:
        _staged[key] = torch.empty(y.shape, dtype=y.dtype, pin_memory=True)
    asked = index.cpu()  # waits for the stream, so the last call's copy has left the buffer
    torch.index_select(_in_host_memory(table, pinned=False), 0, asked, out=_staged[key])
    y.copy_(_staged[key], non_blocking=True)


def copied_whole(table: Tensor, index: Tensor, y: Tensor) -> None:
    """All of the table to the device, in one fast copy, and a gather there: the host does nothing. Pays for large k alone."""
    torch.index_select(_in_host_memory(table, pinned=True).to(y.device, non_blocking=True), 0, index, out=y)


if triton is not None:

    @triton.jit
    def row_kernel(table_ptr, index_ptr, y_ptr, d, BLOCK: tl.constexpr):
        """One row a program. The table may lie in page-locked host memory, which a GPU can address."""
        row = tl.program_id(0).to(tl.int64)
        source = tl.load(index_ptr + row) * d
        for start in range(0, d, BLOCK):
            at = start + tl.arange(0, BLOCK)
            values = tl.load(table_ptr + source + at, mask=at < d)
            tl.store(y_ptr + row * d + at, values, mask=at < d)


def zero_copy(table: Tensor, index: Tensor, y: Tensor) -> None:
    """A kernel reads the rows from host memory itself: no host work, no wait, no byte too many, small requests on the link."""
    launch_rows(_in_host_memory(table, pinned=True), index, y)


def launch_rows(table: Tensor, index: Tensor, y: Tensor) -> None:
    """row_kernel, a program for each row asked for. Only the columns' number must be below 2**31."""
    row_kernel[(index.shape[0],)](table, index, y, table.shape[1], BLOCK=256)


def _in_host_memory(table: Tensor, pinned: bool) -> Tensor:
    """The weight's copy, made when a tensor is first seen; an address means the same weight as long as that tensor lives."""
    seen, copy = _tables.get((table.data_ptr(), pinned), (None, table))
    if seen is None or seen() is None:
        copy = torch.empty(table.shape, dtype=table.dtype, pin_memory=pinned)
        copy.copy_(table)
        _tables[table.data_ptr(), pinned] = weakref.ref(table), copy
    return copy
