"""The projections of one decoding step, query, key, value and router, of a few rows each: four products or one?

x [n, d] with few rows, w [width, d] with the four weights one below the other, y [n, width], float32; width is
d + 2 * (d // 4) + 64. One call must read w, 4 * width * d bytes, for 2 * n * width * d operations: half an operation a byte
and row, so that with few rows it is all reading, and the two narrow products are too short to fill a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

EXPERTS = 64

_graphs: dict[tuple[object, ...], torch.cuda.CUDAGraph] = {}


def reference(x: Tensor, w: Tensor) -> Tensor:
    """One product in float64."""
    return x @ w.t()


def four(x: Tensor, w: Tensor, y: Tensor) -> None:
    """A product for each projection, straight into its columns: a model with four linear layers does this."""
    d = x.shape[1]
    widths = [d, d // 4, d // 4, EXPERTS]
    for weight, columns in zip(w.split(widths), y.split(widths, dim=1), strict=True):
        torch.mm(x, weight.t(), out=columns)


def graph(x: Tensor, w: Tensor, y: Tensor) -> None:
    """The four products captured once for each set of addresses and replayed: isolates dispatch. CUDA only."""
    key = (x.shape, x.data_ptr(), w.data_ptr(), y.data_ptr())
    if key not in _graphs:
        four(x, w, y)  # loads the kernels and the library's workspace before the capture
        torch.cuda.synchronize()
        _graphs[key] = torch.cuda.CUDAGraph()
        with torch.cuda.stream(torch.cuda.Stream()):
            _graphs[key].capture_begin(capture_error_mode="thread_local")
            four(x, w, y)
            _graphs[key].capture_end()
        torch.cuda.synchronize()
    _graphs[key].replay()


def library(x: Tensor, w: Tensor, y: Tensor) -> None:
    """One product with the stacked weights: what serving engines do when they load a model."""
    torch.mm(x, w.t(), out=y)


if triton is not None:

    @triton.jit
    def skinny_kernel(x_ptr, w_ptr, y_ptr, n, d, width, N: tl.constexpr, OUT: tl.constexpr, DEPTH: tl.constexpr):
        """OUT columns of y for all n rows a program: each element of w is read by one program, once."""
        row = tl.arange(0, N)
        out = tl.program_id(0) * OUT + tl.arange(0, OUT)
        total = tl.zeros((N, OUT), tl.float32)
        for start in range(0, d, DEPTH):
            depth = start + tl.arange(0, DEPTH)
            x_inside = (row[:, None] < n) & (depth[None, :] < d)
            x = tl.load(x_ptr + row[:, None] * d + depth[None, :], mask=x_inside, other=0.0)
            w_at = w_ptr + out[:, None].to(tl.int64) * d + depth[None, :]
            w = tl.load(w_at, mask=(out[:, None] < width) & (depth[None, :] < d), other=0.0)
            total += tl.sum(x[:, None, :] * w[None, :, :], axis=2)
        at = row[:, None] * width + out[None, :]
        tl.store(y_ptr + at, total, mask=(row[:, None] < n) & (out[None, :] < width))


def triton_skinny(x: Tensor, w: Tensor, y: Tensor) -> None:
    """One launch made for few rows: no tile of 64 or more rows is filled with zeros. n at most 16. CUDA only."""
    (n, d), width = x.shape, w.shape[0]
    rows = triton.next_power_of_2(n)
    skinny_kernel[(triton.cdiv(width, 4),)](x, w, y, n, d, width, N=rows, OUT=4, DEPTH=min(512, 2048 // rows))
