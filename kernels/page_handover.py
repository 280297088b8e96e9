"""Handing a finished prompt's cache over: its pages, scattered over the prefill pool, into the decode pool's ring.

pool [layers, pages, 16, width] float16: keys and values of 16 tokens a page. table [n] int32: the page of the pool that holds
tokens 16 * i to 16 * i + 15 of the prompt. start [1] int32: where the ring has its next free place; page i goes to place
(start + i) % n of y [layers, n, 16, width], which is then exactly full. Both the table and the start are data.
One call must read and write 2 * layers * n * 16 * width bytes each. Between two machines y would be the other's memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

_landing: dict[tuple[object, ...], Tensor] = {}


def reference(pool: Tensor, table: Tensor, start: Tensor) -> Tensor:
    """A page at a time; nothing is rounded."""
    n = table.shape[0]
    ring = pool.new_empty(pool.shape[0], n, *pool.shape[2:])
    for i, page in enumerate(table.tolist()):
        ring[:, (int(start) + i) % n] = pool[:, page]
    return ring


def page_by_page(pool: Tensor, table: Tensor, start: Tensor, y: Tensor) -> None:
    """A copy a page, all layers of it: the host walks through both tables. What a block manager that owns them would do."""
    n, first = table.shape[0], int(start)
    for i, page in enumerate(table.tolist()):
        y[:, (first + i) % n] = pool[:, page]


def layer_by_layer(pool: Tensor, table: Tensor, start: Tensor, y: Tensor) -> None:
    """A gather a layer, as soon as that layer's prefill is done: one launch for all of its pages."""
    order = _in_ring_order(table, start)
    for source, ring in zip(pool, y, strict=True):
        torch.index_select(source, 0, order, out=ring)


def gathered(pool: Tensor, table: Tensor, start: Tensor, y: Tensor) -> None:
    """One gather of all layers into a new tensor, then one copy into the ring: isolates launches from the extra trip."""
    y.copy_(pool.index_select(1, _in_ring_order(table, start)))


def straight(pool: Tensor, table: Tensor, start: Tensor, y: Tensor) -> None:
    """One gather, into the ring."""
    torch.index_select(pool, 1, _in_ring_order(table, start), out=y)


def staged(pool: Tensor, table: Tensor, start: Tensor, y: Tensor) -> None:
    """By way of page-locked host memory, as where the pools have no direct link. A layer's gather runs beside the last
    one's trip down, and its trip up beside the next one's. CUDA only."""
    order, here = _in_ring_order(table, start), torch.cuda.current_stream()
    key = (y.device, y.shape)
    if key not in _landing:
        _landing[key] = torch.empty(y.shape, dtype=y.dtype, pin_memory=True)
    up = torch.cuda.Stream()
    for source, host, ring in zip(pool, _landing[key], y, strict=True):
        host.copy_(source.index_select(0, order), non_blocking=True)
        up.wait_stream(here)
        with torch.cuda.stream(up):
            ring.copy_(host, non_blocking=True)
    here.wait_stream(up)


def _in_ring_order(table: Tensor, start: Tensor) -> Tensor:
    """The page for each place of the ring, worked out on the device, [n] int64."""
    n = table.shape[0]
    return table[(torch.arange(n, device=table.device) - start) % n].long()


if triton is not None:

    @triton.jit
    def handover_kernel(pool_ptr, table_ptr, start_ptr, y_ptr, pages, n, size, BLOCK: tl.constexpr):
        """BLOCK neighbouring elements of a page of `size`; program (block, page of the prompt, layer)."""
        i = tl.program_id(1)
        layer = tl.program_id(2).to(tl.int64)
        page = tl.load(table_ptr + i)
        place = (tl.load(start_ptr) + i) % n
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        content = tl.load(pool_ptr + (layer * pages + page) * size + at, mask=at < size)
        tl.store(y_ptr + (layer * n + place) * size + at, content, mask=at < size)


def triton_pages(pool: Tensor, table: Tensor, start: Tensor, y: Tensor) -> None:
    """One launch that reads both tables itself. CUDA only."""
    layers, pages, tokens, width = pool.shape
    n, size = table.shape[0], tokens * width
    block = min(4096, triton.next_power_of_2(size))
    handover_kernel[(triton.cdiv(size, block), n, layers)](pool, table, start, y, pages, n, size, BLOCK=block)
