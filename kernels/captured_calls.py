"""A call captured as a CUDA graph for each set of addresses, and replayed: dispatch is paid once, in an untimed call."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

_graphs: dict[tuple[object, ...], torch.cuda.CUDAGraph] = {}


def replay(call: Callable[..., None], *tensors: Tensor) -> None:
    """call(*tensors), which must not wait for the device, by the graph for these addresses, captured where there is none."""
    key = (call, tensors[0].shape, *(tensor.data_ptr() for tensor in tensors))
    if key not in _graphs:
        _graphs[key] = _captured(call, *tensors)
    _graphs[key].replay()


@functools.cache
def _pool() -> tuple[int, int]:
    """Memory that all graphs share: they are replayed one after the other, and nothing in it is used after a replay."""
    return torch.cuda.graph_pool_handle()


def _captured(call: Callable[..., None], *tensors: Tensor) -> torch.cuda.CUDAGraph:
    """A plain run on the capturing stream first: it loads kernels, makes rooms that are kept, and starts autograd's engine."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call(*tensors)
        torch.cuda.synchronize()
        graph.capture_begin(pool=_pool(), capture_error_mode="thread_local")
        call(*tensors)
        graph.capture_end()
    torch.cuda.synchronize()
    return graph
