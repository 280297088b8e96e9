"""y = 3/2 x + 1/2: can loads under way in a thread replace threads that are resident? CUDA only.

x and y [n], float32. One call must read x and write y, 8 * n bytes. To keep a memory busy, bandwidth times latency must be
under way: 4.8 TB/s for 0.7 us is 3.4 MB, 25 KB a multiprocessor of an H200. 2048 threads with one load of 16 bytes each have
32 KiB under way, 256 threads have 4. The kernels are in occupancy.cu.
"""

from __future__ import annotations

from cuda_launch import launch
from torch import Tensor


def reference(x: Tensor) -> Tensor:
    """The line in float64."""
    return 1.5 * x + 0.5


def full(x: Tensor, y: Tensor) -> None:
    """Eight blocks of 256 threads a multiprocessor, one load of 16 bytes each: 32 KiB under way."""
    launch("occupancy", "launch_full", x, y, x.shape[0])


def full_four(x: Tensor, y: Tensor) -> None:
    """The same threads with four loads each: 128 KiB under way, more than the memory can use."""
    launch("occupancy", "launch_full_four", x, y, x.shape[0])


def alone(x: Tensor, y: Tensor) -> None:
    """One block a multiprocessor, one load a thread: 4 KiB under way. The control: it must lose."""
    launch("occupancy", "launch_alone", x, y, x.shape[0])


def alone_four(x: Tensor, y: Tensor) -> None:
    """One block a multiprocessor, four loads a thread: 16 KiB."""
    launch("occupancy", "launch_alone_four", x, y, x.shape[0])


def alone_eight(x: Tensor, y: Tensor) -> None:
    """One block a multiprocessor, eight loads a thread: 32 KiB, as many as the first version, at an eighth of the threads."""
    launch("occupancy", "launch_alone_eight", x, y, x.shape[0])
