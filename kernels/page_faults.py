"""The second difference of a series, y[i] = x[i + 2] - 2 x[i + 1] + x[i], through scratch memory: where do its pages come from?

x [n], y [n - 2], float32; the first difference [n - 1] goes to the scratch buffer. One call must read 4 * n bytes and write
as many. A page of new memory is found and filled with zeros when it is first touched: 1,024 times in 4 MiB of
4 KiB pages, twice in pages of 2 MiB. CPU only. The scratch is mapped by hand, since a worker of the runner is set up to
keep the memory that it frees, and its malloc would hide what is asked about here.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

HUGE = 2 << 20
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

_scratch: dict[int, Tensor] = {}


def reference(x: Tensor) -> Tensor:
    """Both differences in float64."""
    return x[2:] - 2.0 * x[1:-1] + x[:-2]


def mapped(x: Tensor, y: Tensor) -> None:
    """New memory each call, given back at its end: what malloc does with large blocks unless it is told otherwise."""
    _differences(x, torch.frombuffer(mmap.mmap(-1, _length(x), flags=ANONYMOUS), dtype=torch.float32), y)


def populated(x: Tensor, y: Tensor) -> None:
    """New memory whose pages are all found when it is mapped (MAP_POPULATE): as many zeros, one entry into the kernel."""
    pages = mmap.mmap(-1, _length(x), flags=ANONYMOUS | mmap.MAP_POPULATE)
    _differences(x, torch.frombuffer(pages, dtype=torch.float32), y)


def huge_pages(x: Tensor, y: Tensor) -> None:
    """New memory in pages of 2 MiB where the system has them (madvise): as many zeros, hardly a fault."""
    pages = mmap.mmap(-1, _length(x) + HUGE, flags=ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(pages, dtype=torch.float32)
    start = -whole.data_ptr() % HUGE // whole.element_size()
    _differences(x, whole[start:], y)


def kept(x: Tensor, y: Tensor) -> None:
    """The same memory in every call: no fault, no zeros, and perhaps still in a cache."""
    n = x.shape[0]
    if n not in _scratch:
        _scratch[n] = torch.empty(n - 1)
    _differences(x, _scratch[n], y)


def library(x: Tensor, y: Tensor) -> None:
    """torch.diff, with two temporaries from torch's allocator (the runner's malloc keeps them) and a copy."""
    y.copy_(torch.diff(x, n=2))


def _differences(x: Tensor, scratch: Tensor, y: Tensor) -> None:
    first = scratch[: x.shape[0] - 1]
    torch.sub(x[1:], x[:-1], out=first)
    torch.sub(first[1:], first[:-1], out=y)


def _length(x: Tensor) -> int:
    """Bytes of the scratch buffer, in whole pages."""
    return -(-4 * (x.shape[0] - 1) // mmap.PAGESIZE) * mmap.PAGESIZE
