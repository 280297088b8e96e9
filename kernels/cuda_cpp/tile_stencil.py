"""Mean of the 5 x 5 neighbours of each pixel, zero outside the image: who brings a tile and its rim? CUDA only.

x and y [rows, columns], float32. One call must read x and write y, 8 * rows * columns bytes; a tile of 64 x 32 with its rim
is 1.2 times as much to read. The kernels are in tile_stencil.cu and differ only in where a thread reads from. A tensor map
needs rows that begin at multiples of 16 bytes: columns must be a multiple of 4.
"""

from __future__ import annotations

import torch
from cuda_launch import launch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def reference(x: Tensor) -> Tensor:
    """The mean of 25 values, those outside being zero."""
    return avg_pool2d(x[None], 5, stride=1, padding=2, count_include_pad=True)[0]


def direct(x: Tensor, y: Tensor) -> None:
    """Each thread reads its neighbours from global memory, with bounds checks, and trusts the first-level cache."""
    launch("tile_stencil", "launch_direct", x, y, *x.shape)


def staged(x: Tensor, y: Tensor) -> None:
    """The block's threads copy tile and rim into shared memory first: every element is asked for once a block."""
    launch("tile_stencil", "launch_staged", x, y, *x.shape)


def engine(x: Tensor, y: Tensor) -> None:
    """One thread asks for the tile by its corner (cp.async.bulk.tensor): no addresses, no bounds checks. Needs sm_90."""
    launch("tile_stencil", "launch_engine", x, y, *x.shape)


def engine_ahead(x: Tensor, y: Tensor) -> None:
    """Resident blocks with two buffers: the next tile is under way while this one is computed. Needs sm_90."""
    launch("tile_stencil", "launch_engine_ahead", x, y, *x.shape)


def library(x: Tensor, y: Tensor) -> None:
    """torch's average pooling, straight into the output."""
    torch.ops.aten.avg_pool2d.out(x[None], [5, 5], [1, 1], [2, 2], False, True, None, out=y[None])
