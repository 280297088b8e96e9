"""One training step of a two-layer network: forward, backward and plain gradient descent. Who works out the gradient?

x, t [n, d] (inputs and targets), w1 [d, h], w2 [h, d], new weights w1n, w2n of the same shapes, float32. The prediction is
tanh(x w1 / sqrt(d)) w2 / sqrt(h), the loss half the squared error summed over d and averaged over n. One call must read
x, t, w1, w2 and write w1n, w2n: 4 * (2 * n * d + 4 * d * h) bytes, for 10 * n * d * h operations in five products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

RATE = 1.0

_scratch: dict[tuple[object, ...], list[Tensor]] = {}
_graphs: dict[tuple[object, ...], torch.cuda.CUDAGraph] = {}


def reference(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient by hand, in float64."""
    (n, d), h = x.shape, w1.shape[1]
    a = torch.tanh(x @ w1 / d**0.5)
    e = (a @ w2 / h**0.5 - t) / n
    da = e @ w2.t() / h**0.5
    return w1 - RATE * (x.t() @ (da * (1 - a * a))) / d**0.5, w2 - RATE * (a.t() @ e) / h**0.5


def autograd(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor, w1n: Tensor, w2n: Tensor) -> None:
    """Forward as it is written, backward by torch's engine, then the update into the outputs: what everyone writes."""
    first, second = w1.detach().requires_grad_(), w2.detach().requires_grad_()
    g1, g2 = torch.autograd.grad(_loss(first, second, x, t), (first, second))
    torch.sub(w1, g1, alpha=RATE, out=w1n)
    torch.sub(w2, g2, alpha=RATE, out=w2n)


def by_hand(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor, w1n: Tensor, w2n: Tensor) -> None:
    """The same operations without the engine: isolates what recording and walking the graph costs."""
    (n, d), h = x.shape, w1.shape[1]
    a = torch.tanh(x @ w1 / d**0.5)
    e = (a @ w2 / h**0.5 - t) / n
    g2 = a.t() @ e / h**0.5
    g1 = x.t() @ (e @ w2.t() / h**0.5 * (1 - a * a)) / d**0.5
    torch.sub(w1, g1, alpha=RATE, out=w1n)
    torch.sub(w2, g2, alpha=RATE, out=w2n)


def in_products(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor, w1n: Tensor, w2n: Tensor) -> None:
    """By hand, with scales, differences and updates inside the five products, in buffers that are kept."""
    (n, d), h = x.shape, w1.shape[1]
    a, e, da = _buffers(x, w1)
    torch.addmm(a, x, w1, beta=0, alpha=d**-0.5, out=a).tanh_()
    torch.addmm(t, a, w2, beta=-1, alpha=h**-0.5, out=e)
    torch.addmm(da, e, w2.t(), beta=0, out=da)
    torch.addmm(w2, a.t(), e, alpha=-RATE / n * h**-0.5, out=w2n)
    torch.ops.aten.tanh_backward.grad_input(da, a, grad_input=da)
    torch.addmm(w1, x.t(), da, alpha=-RATE / n * h**-0.5 * d**-0.5, out=w1n)


def graph(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor, w1n: Tensor, w2n: Tensor) -> None:
    """The first version, engine and all, captured once for each set of addresses and replayed. CUDA only."""
    tensors = (x, t, w1, w2, w1n, w2n)
    key = (x.shape, w1.shape, *(tensor.data_ptr() for tensor in tensors))
    if key not in _graphs:
        _graphs[key] = _captured(*tensors)
    _graphs[key].replay()


def library(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor, w1n: Tensor, w2n: Tensor) -> None:
    """The gradient by torch.func.grad through torch.compile, update included. CUDA only: a CPU compiles for long."""
    _compiled()(x, t, w1, w2, w1n, w2n)


def _loss(w1: Tensor, w2: Tensor, x: Tensor, t: Tensor) -> Tensor:
    y = torch.tanh(x @ w1 / x.shape[1] ** 0.5) @ w2 / w1.shape[1] ** 0.5
    return 0.5 * (y - t).square().sum() / x.shape[0]


@functools.cache
def _compiled() -> Callable[..., None]:
    def step(x: Tensor, t: Tensor, w1: Tensor, w2: Tensor, w1n: Tensor, w2n: Tensor) -> None:
        g1, g2 = torch.func.grad(_loss, argnums=(0, 1))(w1, w2, x, t)
        w1n.copy_(w1 - RATE * g1)
        w2n.copy_(w2 - RATE * g2)

    return torch.compile(step, dynamic=False)


def _captured(*tensors: Tensor) -> torch.cuda.CUDAGraph:
    """A graph of autograd on these addresses. Plain runs on the capturing stream first load kernels and start the engine."""
    captured, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            autograd(*tensors)
        torch.cuda.synchronize()
        captured.capture_begin(capture_error_mode="thread_local")
        autograd(*tensors)
        captured.capture_end()
    torch.cuda.synchronize()
    return captured


def _buffers(x: Tensor, w1: Tensor) -> list[Tensor]:
    """Room for activations, errors and their gradients, kept between calls and written before it is read."""
    key = (x.device, x.shape, w1.shape)
    if key not in _scratch:
        _scratch[key] = [x.new_zeros(x.shape[0], width) for width in (w1.shape[1], x.shape[1], w1.shape[1])]
    return _scratch[key]
