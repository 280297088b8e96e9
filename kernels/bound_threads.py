"""Two threads smooth half of a series each, y <- 0.75 y + x sixteen times from y = x: does it matter on which core they are?

x, y [n], float32. One call must read 4 * n bytes and write as many; as passes it moves ten times that, through the caches of
the core that a thread is on. A thread that is moved finds its half in another core's cache; two that share a core take turns.
numpy does the work: it lets go of the interpreter's lock and starts no threads of its own. CPU only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import Tensor

THREADS = 2
STEPS = 16

_pools: dict[str, list[ThreadPoolExecutor]] = {}


def reference(x: Tensor) -> Tensor:
    """The recurrence in float64."""
    y = x.clone()
    for _ in range(STEPS):
        y = 0.75 * y + x
    return y


def unbound(x: Tensor, y: Tensor) -> None:
    """Two threads that the scheduler may put on any core that the process has."""
    _halves("unbound", [None, None], x, y)


def bound_apart(x: Tensor, y: Tensor) -> None:
    """Each thread is bound to a core of its own (sched_setaffinity), the first and the last that the process has."""
    cores = sorted(os.sched_getaffinity(0))
    _halves("apart", [cores[0], cores[-1]], x, y)


def bound_together(x: Tensor, y: Tensor) -> None:
    """Both threads are bound to one core: the control, and what a wrong mask does."""
    cores = sorted(os.sched_getaffinity(0))
    _halves("together", [cores[0], cores[0]], x, y)


def one_thread(x: Tensor, y: Tensor) -> None:
    """The calling thread does both halves: nothing is handed over and nothing waited for."""
    for part, out in _parts(x, y):
        _smooth(part, out)


def _halves(name: str, cores: Iterable[int | None], x: Tensor, y: Tensor) -> None:
    """One half to each of two threads that are kept, each bound to its core when it starts."""
    if name not in _pools:
        _pools[name] = [ThreadPoolExecutor(1, name, _bind, (core,)) for core in cores]
    jobs = [pool.submit(_smooth, *part) for pool, part in zip(_pools[name], _parts(x, y), strict=True)]
    for job in jobs:
        job.result()


def _bind(core: int | None) -> None:
    """Binds the calling thread; 0 is the thread itself, not the process."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def _parts(x: Tensor, y: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    middle = x.shape[0] // THREADS
    return [(x[:middle].numpy(), y[:middle].numpy()), (x[middle:].numpy(), y[middle:].numpy())]


def _smooth(x: np.ndarray, y: np.ndarray) -> None:
    np.copyto(y, x)
    for _ in range(STEPS):
        np.multiply(y, np.float32(0.75), out=y)
        np.add(y, x, out=y)
