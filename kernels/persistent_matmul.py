"""Matrix product c = a b in Triton, one tile a program or a program a multiprocessor that walks over tiles. CUDA only.

a [m, k], b [k, n], c [m, n], float16 with float32 sums. One call must read a and b and write c,
2 * (m * k + k * n + m * n) bytes, for 2 * m * n * k operations. All variants but `library` compute the same tiles of
128 x 128 in the same way: which tiles run at the same time decides what they find in the second-level cache, and who
starts a tile decides whether its first loads wait.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # no variant but the library's runs without it
    triton = None

ROWS, COLUMNS, DEPTH = 128, 128, 64
GROUP = 8
"""Rows of tiles that are walked through column by column: 8 x 16 tiles need 24 panels of a and b, a line of 128 tiles 129."""


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The product in float64."""
    return a @ b


def row_by_row(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A tile a program, in the order of c's rows: the tutorial's first kernel."""
    launch_tiles(a, b, c, group=1)


def grouped(a: Tensor, b: Tensor, c: Tensor) -> None:
    """The same kernel, tiles in groups of 8 rows: isolates the order, that is, the second-level cache."""
    launch_tiles(a, b, c, group=GROUP)


def persistent(a: Tensor, b: Tensor, c: Tensor) -> None:
    """As many programs as multiprocessors, each taking every n-th tile, tiles in row order: isolates who starts a tile."""
    launch_persistent(a, b, c, _processors(a), group=1)


def persistent_grouped(a: Tensor, b: Tensor, c: Tensor) -> None:
    """Both."""
    launch_persistent(a, b, c, _processors(a), group=GROUP)


def library(a: Tensor, b: Tensor, c: Tensor) -> None:
    """cuBLAS."""
    torch.mm(a, b, out=c)


def _processors(a: Tensor) -> int:
    return torch.cuda.get_device_properties(a.device).multi_processor_count


if triton is not None:

    @triton.jit
    def tile_kernel(
        a_ptr, b_ptr, c_ptr, m, n, k,
        GROUP: tl.constexpr, PERSISTENT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
    ):  # fmt: skip
        """Tiles program_id, program_id + num_programs, ... where PERSISTENT, else the one tile program_id."""
        across = tl.cdiv(n, COLUMNS)
        down = tl.cdiv(m, ROWS)
        tiles = down * across if PERSISTENT else tl.program_id(0) + 1
        for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0)):
            above = tile // (GROUP * across) * GROUP  # rows of tiles in earlier groups
            height = tl.minimum(down - above, GROUP)
            row = (above + tile % (GROUP * across) % height) * ROWS + tl.arange(0, ROWS)
            column = tile % (GROUP * across) // height * COLUMNS + tl.arange(0, COLUMNS)
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
            for start in range(0, k, DEPTH):
                depth = start + tl.arange(0, DEPTH)
                a_at = a_ptr + row[:, None].to(tl.int64) * k + depth[None, :]
                b_at = b_ptr + depth[:, None].to(tl.int64) * n + column[None, :]
                a = tl.load(a_at, mask=(row[:, None] < m) & (depth[None, :] < k), other=0.0)
                b = tl.load(b_at, mask=(depth[:, None] < k) & (column[None, :] < n), other=0.0)
                total = tl.dot(a, b, total)
            c_at = c_ptr + row[:, None].to(tl.int64) * n + column[None, :]
            tl.store(c_at, total.to(c_ptr.dtype.element_ty), mask=(row[:, None] < m) & (column[None, :] < n))


def launch_tiles(a: Tensor, b: Tensor, c: Tensor, group: int) -> None:
    """A program for every tile."""
    tiles = triton.cdiv(a.shape[0], ROWS) * triton.cdiv(b.shape[1], COLUMNS)
    _launch(a, b, c, tiles, group, is_persistent=False)


def launch_persistent(a: Tensor, b: Tensor, c: Tensor, programs: int, group: int) -> None:
    """`programs` programs for all tiles."""
    _launch(a, b, c, programs, group, is_persistent=True)


def _launch(a: Tensor, b: Tensor, c: Tensor, programs: int, group: int, is_persistent: bool) -> None:
    (m, k), n = a.shape, b.shape[1]
    constants = {"GROUP": group, "PERSISTENT": is_persistent, "ROWS": ROWS, "COLUMNS": COLUMNS, "DEPTH": DEPTH}
    tile_kernel[(programs,)](a, b, c, m, n, k, **constants, num_warps=8, num_stages=4)
