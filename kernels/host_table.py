"""Pages of a cache that is too large for the device: y[i] = table[index[i]], the table in host memory. CUDA only.

table [rows, d] (a weight; its copy in host memory is made once, see host_weight.py, and every call reads that copy), index [k]
int64 within the table, y [k, d], float32. One call must bring 4 * k * d bytes over the link (PCIe: 64 GB/s; NVLink-C2C of a
Grace: 450 GB/s). Which way is best depends on how many bytes a call wants.
"""

from __future__ import annotations

import host_weight
import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

_staged: dict[tuple[object, ...], Tensor] = {}


def reference(table: Tensor, index: Tensor) -> Tensor:
    """The rows; nothing is rounded."""
    return table[index]


def gathered(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The index goes to the host, which gathers the rows into a new tensor, and that goes to the device."""
    y.copy_(host_weight.copy_of(table)[index.cpu()])


def staged(table: Tensor, index: Tensor, y: Tensor) -> None:
    """The same through page-locked buffers that are kept: isolates allocation and the driver's detour from the gather."""
    key = (tuple(y.shape), index.shape[0])
    if key not in _staged:
        _staged[key] = torch.empty(y.shape, dtype=y.dtype, pin_memory=True)
    asked = index.cpu()  # waits for the stream, so the last call's copy has left the buffer
    torch.index_select(host_weight.copy_of(table), 0, asked, out=_staged[key])
    y.copy_(_staged[key], non_blocking=True)


def copied_whole(table: Tensor, index: Tensor, y: Tensor) -> None:
    """All of the table to the device, in one fast copy, and a gather there: the host does nothing. Pays for large k alone."""
    torch.index_select(host_weight.copy_of(table, pinned=True).to(y.device, non_blocking=True), 0, index, out=y)


if triton is not None:

    @triton.jit
    def row_kernel(table_ptr, index_ptr, y_ptr, d, BLOCK: tl.constexpr):
        """BLOCK neighbours of one row a program. The table may lie in page-locked host memory, which a GPU can address."""
        row = tl.program_id(0).to(tl.int64)
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        values = tl.load(table_ptr + tl.load(index_ptr + row) * d + at, mask=at < d)
        tl.store(y_ptr + row * d + at, values, mask=at < d)


def zero_copy(table: Tensor, index: Tensor, y: Tensor) -> None:
    """A kernel reads the rows from host memory itself: no host work, no wait, no byte too many, small requests on the link."""
    launch_rows(host_weight.copy_of(table, pinned=True), index, y)


def launch_rows(table: Tensor, index: Tensor, y: Tensor) -> None:
    """row_kernel on all rows asked for. A row must have fewer than 2**31 - 1024 elements."""
    d = table.shape[1]
    row_kernel[(index.shape[0], triton.cdiv(d, 1024))](table, index, y, d, BLOCK=1024)
