"""Functions that are timed in benchmarks of the runner: workers load this file by path, as any kernel file.

A call writes its last argument. What is compared computes the same: a function is held against itself, or against one that
does a known amount of work more.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SPIN_CYCLES = 36_000
"""About 20 us of an SM at 1.8 GHz; 80 times that is `spin_long`."""
CHUNKS, CHUNK = 200, 512
"""Additions a call and elements of each, on a CPU: about 1 ms."""


def reference(a: Tensor, b: Tensor) -> Tensor:
    """a + b, of `add`, `spin` and `chunks`."""
    return a + b


def add(a: Tensor, b: Tensor, c: Tensor) -> None:
    """One addition: 12 bytes an element in float32."""
    torch.add(a, b, out=c)


def reference_softmax(a: Tensor) -> Tensor:
    """Softmax of rows."""
    return torch.softmax(a, -1)


def softmax(a: Tensor, c: Tensor) -> None:
    """One kernel that reads and writes every element once."""
    torch.softmax(a, -1, out=c)


def reference_matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b."""
    return a @ b


def matmul(a: Tensor, b: Tensor, c: Tensor) -> None:
    """One matrix product."""
    torch.mm(a, b, out=c)


def spin(share: float) -> Callable[[Tensor, Tensor, Tensor], None]:
    """An addition behind a kernel that does nothing for SPIN_CYCLES * (1 + share) cycles."""
    cycles = round(SPIN_CYCLES * (1 + share))

    def call(a: Tensor, b: Tensor, c: Tensor) -> None:
        torch.cuda._sleep(cycles)
        torch.add(a, b, out=c)

    return call


def chunks(share: float) -> Callable[[Tensor, Tensor, Tensor], None]:
    """CHUNKS * (1 + share) additions of CHUNK elements each; those beyond the first CHUNKS write again what is there."""
    count = round(CHUNKS * (1 + share))

    def call(a: Tensor, b: Tensor, c: Tensor) -> None:
        for i in range(count):
            part = slice(i % CHUNKS * CHUNK, (i % CHUNKS + 1) * CHUNK)
            torch.add(a[part], b[part], out=c[part])

    return call


spin_long = spin(79.0)
spin_0 = spin(0.0)
spin_0_5 = spin(0.005)
spin_1 = spin(0.01)
spin_2 = spin(0.02)
spin_5 = spin(0.05)
chunks_0 = chunks(0.0)
chunks_0_5 = chunks(0.005)
chunks_1 = chunks(0.01)
chunks_2 = chunks(0.02)
chunks_5 = chunks(0.05)
