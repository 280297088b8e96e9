"""A stack of equal layers, compiled as one function or a layer at a time: what do borders between compiled regions cost?

x, y [n, d] float32; weights gate, up [layers, d, h], down [layers, h, d]. A layer adds (silu(z @ gate) * (z @ up)) @ down to x,
where z is rms_norm(x). One call must read the weights, 12 * layers * d * h bytes. Compiling is done in the first, untimed
call: for one layer it takes as long whatever their number, for the stack it grows with it. CUDA only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

_graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}


def reference(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The layers in float64."""
    return _stack(x, gate, up, down)


def whole(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """torch.compile on the stack: one line, and the compiler sees everything."""
    y.copy_(_compiled(_stack)(x, gate, up, down))


def regional(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """torch.compile on a layer, called for each: an entry through its guards a layer, and nothing fused across layers."""
    layer = _compiled(_layer)
    for weights in zip(gate, up, down, strict=True):
        x = layer(x, *weights)
    y.copy_(x)


def eager(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Not compiled: seven or more launches a layer. What a compiler gains at all."""
    y.copy_(_stack(x, gate, up, down))


def captured(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """The layer compiled, and all layers recorded in a CUDA graph for each set of addresses: regions without their entries."""
    key = (x.data_ptr(), y.data_ptr(), gate.data_ptr(), *gate.shape, x.shape[0])
    if key not in _graphs:
        regional(x, gate, up, down, y)
        torch.cuda.synchronize()
        _graphs[key] = recorded = torch.cuda.CUDAGraph()
        with torch.cuda.stream(torch.cuda.Stream()):
            recorded.capture_begin(capture_error_mode="thread_local")
            regional(x, gate, up, down, y)
            recorded.capture_end()
        torch.cuda.synchronize()
    _graphs[key].replay()


def _stack(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    for weights in zip(gate, up, down, strict=True):
        x = _layer(x, *weights)
    return x


def _layer(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    z = rms_norm(x, x.shape[-1:], eps=1e-6)
    return x + (silu(z @ gate) * (z @ up)) @ down


@functools.cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same compiled function for all calls of a process."""
    return torch.compile(function, dynamic=False)
