"""Backward through a stack of layers y = y + tanh(y w_l / sqrt(d)): keep what the forward pass made, or make it again?

x, g (gradient of the result), dx [n, d], w, dw [layers, d, d], float32. One call must read x, g, w and write dx, dw,
4 * (3 * n * d + 2 * layers * d * d) bytes, for 6 * layers * n * d * d operations in three products a layer. Keeping takes
8 * n * d bytes a layer for what tanh gave and for what the layer was given. Making a layer again is a fourth product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_scratch: dict[tuple[object, ...], list[Tensor]] = {}


def reference(x: Tensor, g: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward by hand, in float64."""
    scale, given, inner, y = x.shape[1] ** -0.5, [], [], x
    for weight in w:
        given.append(y)
        inner.append(torch.tanh(y @ weight * scale))
        y = y + inner[-1]
    dw, dy = torch.empty_like(w), g
    for layer in reversed(range(w.shape[0])):
        dz = dy * (1 - inner[layer] ** 2) * scale
        dw[layer] = given[layer].t() @ dz
        dy = dy + dz @ w[layer].t()
    return dy, dw


def saved(x: Tensor, g: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> None:
    """Plain autograd: every layer keeps what its backward needs. The default, and right while memory lasts."""
    _through(lambda run, y, weights: run(y, *weights), 1, x, g, w, dx, dw)


def each_layer(x: Tensor, g: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> None:
    """Every layer keeps its input only and is made again for its backward: half the memory that grows with n."""
    _through(_again, 1, x, g, w, dx, dw)


def each_segment(x: Tensor, g: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> None:
    """Segments of about the square root of the layers: the least memory, for the same one more product a layer."""
    _through(_again, max(1, round(w.shape[0] ** 0.5)), x, g, w, dx, dw)


def by_hand(x: Tensor, g: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> None:
    """No engine; what tanh gave is kept and each layer's input is got back by subtracting it: half the memory, no product."""
    layers, scale = w.shape[0], x.shape[1] ** -0.5
    y, dz, *inner = _buffers(x, layers)
    y.copy_(x)
    for weight, a in zip(w, inner, strict=True):
        torch.addmm(a, y, weight, beta=0, alpha=scale, out=a).tanh_()
        y.add_(a)
    dx.copy_(g)
    for layer in reversed(range(layers)):
        y.sub_(inner[layer])
        torch.ops.aten.tanh_backward.grad_input(dx, inner[layer], grad_input=dz)
        torch.addmm(dw[layer], y.t(), dz, beta=0, alpha=scale, out=dw[layer])
        torch.addmm(dx, dz, w[layer].t(), alpha=scale, out=dx)


def _again(run: Callable[..., Tensor], y: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """Runs now without keeping, and again for the backward. Nothing here is random, so the generator's state is not kept."""
    return checkpoint(run, y, *weights, use_reentrant=False, preserve_rng_state=False)


def _layers(y: Tensor, *weights: Tensor) -> Tensor:
    for weight in weights:
        y = y + torch.tanh(y @ weight * y.shape[1] ** -0.5)
    return y


def _through(call: Callable[..., Tensor], length: int, x: Tensor, g: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> None:
    """Forward in segments of `length` layers, each by `call`, then backward into dx and dw."""
    y = given = x.detach().requires_grad_()
    weights = [weight.detach().requires_grad_() for weight in w]
    for start in range(0, len(weights), length):
        y = call(_layers, y, tuple(weights[start : start + length]))
    first, *rest = torch.autograd.grad(y, (given, *weights), g)
    dx.copy_(first)
    torch.stack(rest, out=dw)


def _buffers(x: Tensor, layers: int) -> list[Tensor]:
    """Room for the running value, one gradient and each layer's tanh, kept between calls and written before it is read."""
    key = (x.device, x.shape, layers)
    if key not in _scratch:
        _scratch[key] = [torch.zeros_like(x) for _ in range(layers + 2)]
    return _scratch[key]
