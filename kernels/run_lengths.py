"""A page of run-length encoded values, decoded: value[i] comes count[i] times, one run after the other, n values in all.

value [r] float32, count [r] int32 (from 128 to 1023, as long as the runs of a sorted column), y [n] float32 with
n = 128 * r, so that the runs always fill the page; where a run reaches past its end, the rest is the next page's.
One call must write 4 * n bytes and read the runs that these come from.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None


def reference(value: Tensor, count: Tensor) -> Tensor:
    """All runs written out, cut off at the page's end."""
    return torch.repeat_interleave(value, count)[: 128 * value.shape[0]]


def run_by_run(value: Tensor, count: Tensor, y: Tensor) -> None:
    """A loop over the runs, each filled in one go: as the format is described, and no worse a plan for long runs."""
    n, start = y.shape[0], 0
    for each, length in zip(value.tolist(), count.tolist(), strict=True):
        y[start : start + length] = each
        start += length
        if start >= n:
            break


def gathered(value: Tensor, count: Tensor, y: Tensor) -> None:
    """Marks the first position of each run; the number of marks up to a position is its run. No loop, three passes over n."""
    n = y.shape[0]
    marks = torch.zeros(n, dtype=torch.int64, device=y.device)
    starts = torch.cumsum(count, 0, dtype=torch.int64)[:-1]
    marks.index_add_(0, starts.clamp(max=n - 1), (starts < n).long())
    torch.index_select(value, 0, torch.cumsum(marks, 0), out=y)


def searched(value: Tensor, count: Tensor, y: Tensor) -> None:
    """Looks each position up in the sorted ends of the runs: log2(r) steps a position, nothing to wait for."""
    ends = torch.cumsum(count, 0, dtype=torch.int32)
    position = torch.arange(y.shape[0], dtype=torch.int32, device=y.device)
    torch.index_select(value, 0, torch.searchsorted(ends, position, right=True, out_int32=True), out=y)


def library(value: Tensor, count: Tensor, y: Tensor) -> None:
    """torch.repeat_interleave decodes all runs, and the page is cut off. On CUDA it waits for the sum of the counts."""
    y.copy_(torch.repeat_interleave(value, count)[: y.shape[0]])


if triton is not None:

    @triton.jit
    def expand_kernel(value_ptr, ends_ptr, y_ptr, r, n, STEPS: tl.constexpr, BLOCK: tl.constexpr):
        """BLOCK neighbouring positions a program, each with a binary search of its own; r is below 2**STEPS."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        low = tl.zeros((BLOCK,), tl.int32)
        high = tl.zeros((BLOCK,), tl.int32) + r
        for _ in range(STEPS):
            middle = (low + high) // 2
            open_ = low < high
            past = tl.load(ends_ptr + middle, mask=open_, other=0) <= at
            low = tl.where(open_ & past, middle + 1, low)
            high = tl.where(open_ & (past == 0), middle, high)
        found = (at < n) & (low < r)
        tl.store(y_ptr + at, tl.load(value_ptr + low, mask=found, other=0.0), mask=at < n)


def triton_expand(value: Tensor, count: Tensor, y: Tensor) -> None:
    """The search and the gather in one launch: the positions and the run numbers never go to memory. n below 2**31 - 1024."""
    r, n = value.shape[0], y.shape[0]
    ends = torch.cumsum(count, 0, dtype=torch.int32)
    expand_kernel[(triton.cdiv(n, 1024),)](value, ends, y, r, n, STEPS=r.bit_length(), BLOCK=1024)
