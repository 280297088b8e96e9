"""y = tanh(x) on a CPU, with the threads that torch was given, with one, with half, or with twice as many.

x, y [n], float32. One call must move 8 * n bytes. torch splits an operation over its threads
from 32,768 elements on; each part has to be handed over and waited for. The setting is put back in each call, so changing it is
part of what is timed. CPU only.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference(x: Tensor) -> Tensor:
    """tanh in float64."""
    return torch.tanh(x)


def given(x: Tensor, y: Tensor) -> None:
    """As many threads as the process was started with."""
    torch.tanh(x, out=y)


def one(x: Tensor, y: Tensor) -> None:
    """The calling thread alone."""
    _with_threads(1, x, y)


def half_as_many(x: Tensor, y: Tensor) -> None:
    """Half of them, at least one: a core's two hardware threads share its arithmetic units."""
    _with_threads(max(1, torch.get_num_threads() // 2), x, y)


def twice_as_many(x: Tensor, y: Tensor) -> None:
    """More threads than cores: each waits for its turn, and all for the last."""
    _with_threads(2 * torch.get_num_threads(), x, y)


def _with_threads(count: int, x: Tensor, y: Tensor) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        torch.tanh(x, out=y)
    finally:
        torch.set_num_threads(before)
