"""c = a b in float16, summed in float32: a program a tile, or resident programs that go on to the next tile. CUDA only.

a [m, k], b [k, n], c [m, n], float16; k and n multiples of 8 (tensor descriptors want rows at multiples of 16 bytes). One
call must read a and b and write c, and do 2 * m * n * k operations. 4096 x 4096 outputs are 512 tiles of 128 x 256: on 132
multiprocessors 3.9 waves, each of which starts and ends with a pipeline that is empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # the workload is for CUDA only
    triton = None

ROWS, COLUMNS, DEPTH = 128, 256, 64
GROUP = 8
"""Tiles of a that are visited with one tile of b, while both are in the second-level cache."""


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The product in float64."""
    return a @ b


if triton is not None:

    @triton.jit
    def place(tile, down, across, GROUP: tl.constexpr):
        """Row and column of tiles for a running number: bands of GROUP rows, walked column by column."""
        first = tile // (GROUP * across) * GROUP
        tall = tl.minimum(GROUP, down - first)
        inside = tile % (GROUP * across)
        return first + inside % tall, inside // tall

    @triton.jit
    def pointer_kernel(
        a_ptr,
        b_ptr,
        c_ptr,
        m,
        n,
        k,
        ROWS: tl.constexpr,
        COLUMNS: tl.constexpr,
        DEPTH: tl.constexpr,
        GROUP: tl.constexpr,
    ):
        """One tile a program, addresses and masks computed by its threads."""
        row, column = place(tl.program_id(0), tl.cdiv(m, ROWS), tl.cdiv(n, COLUMNS), GROUP)
        rows = (row * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
        columns = (column * COLUMNS + tl.arange(0, COLUMNS))[None, :]
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, k, DEPTH):
            across = start + tl.arange(0, DEPTH)[None, :]
            down = (start + tl.arange(0, DEPTH)).to(tl.int64)[:, None]
            a = tl.load(a_ptr + rows * k + across, mask=(rows < m) & (across < k), other=0.0)
            b = tl.load(b_ptr + down * n + columns, mask=(down < k) & (columns < n), other=0.0)
            total = tl.dot(a, b, total)
        tl.store(c_ptr + rows * n + columns, total.to(tl.float16), mask=(rows < m) & (columns < n))

    @triton.jit
    def descriptor_kernel(
        a_tiles,
        b_tiles,
        c_tiles,
        m,
        n,
        k,
        ROWS: tl.constexpr,
        COLUMNS: tl.constexpr,
        DEPTH: tl.constexpr,
        GROUP: tl.constexpr,
    ):
        """Every program-count-th tile, brought and taken away by the copy engine; the hardware minds the edges."""
        down, across = tl.cdiv(m, ROWS), tl.cdiv(n, COLUMNS)
        for tile in tl.range(tl.program_id(0), down * across, tl.num_programs(0), flatten=True):
            row, column = place(tile, down, across, GROUP)
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
            for start in range(0, k, DEPTH):
                a = a_tiles.load([row * ROWS, start])
                b = b_tiles.load([start, column * COLUMNS])
                total = tl.dot(a, b, total)
            c_tiles.store([row * ROWS, column * COLUMNS], total.to(tl.float16))


def launch_pointers(a: Tensor, b: Tensor, c: Tensor, rows: int, columns: int) -> None:
    """pointer_kernel with tiles of rows x columns, three steps of k under way."""
    (m, k), n = a.shape, b.shape[1]
    tiles = triton.cdiv(m, rows) * triton.cdiv(n, columns)
    sizes = {"ROWS": rows, "COLUMNS": columns, "DEPTH": DEPTH, "GROUP": GROUP}
    pointer_kernel[(tiles,)](a, b, c, m, n, k, **sizes, num_warps=8, num_stages=3)


def launch_descriptors(a: Tensor, b: Tensor, c: Tensor, rows: int, columns: int, programs: int) -> None:
    """descriptor_kernel on at most `programs` programs. Descriptors are made on the host and passed by value."""
    (m, k), n = a.shape, b.shape[1]
    programs = min(programs, triton.cdiv(m, rows) * triton.cdiv(n, columns))
    tiles = [
        TensorDescriptor.from_tensor(t, list(box))
        for t, box in ((a, (rows, DEPTH)), (b, (DEPTH, columns)), (c, (rows, columns)))
    ]
    sizes = {"ROWS": rows, "COLUMNS": columns, "DEPTH": DEPTH, "GROUP": GROUP}
    descriptor_kernel[(programs,)](*tiles, m, n, k, **sizes, num_warps=8, num_stages=3)


def tile_each(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A program a tile, with addresses computed by its threads: the usual Triton product."""
    launch_pointers(a, b, c, ROWS, COLUMNS)


def descriptors(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A program a tile, with tensor descriptors: isolates the copy engine."""
    launch_descriptors(a, b, c, ROWS, COLUMNS, 1 << 30)


def persistent(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A program a multiprocessor, which starts loading its next tile while it finishes this one: isolates residence."""
    launch_descriptors(a, b, c, ROWS, COLUMNS, torch.cuda.get_device_properties(a.device).multi_processor_count)


def library(a: Tensor, b: Tensor, c: Tensor) -> None:
    """cuBLAS in float16 through torch."""
    torch.mm(a, b, out=c)
