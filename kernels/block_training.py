"""A whole training step of a residual network: forward, backward and AdamW with its state. Where does a better optimizer show?

x, t [n, d] (inputs and targets), w, m, v [layers, 2, d, h] (weights and AdamW's two moments, v above 0) and the new w1, m1, v1,
float32. A layer is x + tanh(norm(x) w[0] / sqrt(d)) w[1]^T / sqrt(h), the loss half the squared error summed and divided by
sqrt(n); the step is AdamW's tenth. One call must read x, t and 3 and write 3 numbers a parameter, 48 * layers * d * h bytes,
for 12 * n * layers * d * h operations in the products of forward and backward.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import captured_calls
import torch
from torch import Tensor
from torch.nn.functional import rms_norm

LR, BETAS, TINY, SHRINK, NUMBER = 1e-3, (0.9, 0.999), 1e-8, 0.01, 10
FIRST, SECOND = (1 - beta**NUMBER for beta in BETAS)

_numbers: dict[tuple[object, ...], list[Tensor]] = {}


def reference(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Backward by hand and the update's formula, in float64."""
    (n, d), h, kept = x.shape, w.shape[3], []
    for into, back in w:
        size = (x.square().mean(1, keepdim=True) + 1e-6).sqrt()
        a = torch.tanh(x / size @ into / d**0.5)
        kept.append((x / size, size, a))
        x = x + a @ back.t() / h**0.5
    e, g = (x - t) / n**0.5, torch.empty_like(w)
    for layer in range(w.shape[0] - 1, -1, -1):
        unit, size, a = kept[layer]
        g[layer, 1] = e.t() @ a / h**0.5
        da = e @ w[layer, 1] / h**0.5 * (1 - a * a)
        g[layer, 0] = unit.t() @ da / d**0.5
        du = da @ w[layer, 0].t() / d**0.5
        e = e + (du - unit * (du * unit).mean(1, keepdim=True)) / size
    m1 = BETAS[0] * m + (1 - BETAS[0]) * g
    v1 = BETAS[1] * v + (1 - BETAS[1]) * g * g
    return w * (1 - LR * SHRINK) - LR / FIRST * m1 / ((v1 / SECOND).sqrt() + TINY), m1, v1


def loop(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """Autograd, then AdamW's formula for a parameter at a time, straight into the outputs: the textbook's training loop."""
    for i, g in enumerate(_gradients(x, t, w)):
        part = tuple(tensor.flatten(0, 1)[i] for tensor in (w, m, v, w1, m1, v1))
        _adamw(g, *part)


def flat(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The parameters are one tensor and so is their gradient, which autograd assembles: the formula once for all."""
    leaf = w.detach().requires_grad_()
    parts = [part for layer in leaf.unbind() for part in layer.unbind()]
    (g,) = torch.autograd.grad(_loss(parts, x, t), leaf)
    _adamw(g, w, m, v, w1, m1, v1)


def foreach(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The formula on lists of parameters, in place: on a GPU a launch serves many parameters. The state is copied first."""
    gradients = _gradients(x, t, w)
    new, mean, square = _copied(w, m, v, w1, m1, v1)
    torch._foreach_lerp_(mean, gradients, 1 - BETAS[0])
    torch._foreach_mul_(square, BETAS[1])
    torch._foreach_addcmul_(square, gradients, gradients, value=1 - BETAS[1])
    below = torch._foreach_div(square, SECOND)
    torch._foreach_sqrt_(below)
    torch._foreach_add_(below, TINY)
    torch._foreach_mul_(new, 1 - LR * SHRINK)
    torch._foreach_addcdiv_(new, mean, below, value=-LR / FIRST)


def library(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The kernel behind torch.optim.AdamW(fused=True) after the same autograd. It updates in place: state is copied first."""
    gradients = _gradients(x, t, w)
    key = (w.device, len(gradients))
    if key not in _numbers:
        _numbers[key] = [torch.full((), float(NUMBER), device=w.device) for _ in gradients]
    new, mean, square = _copied(w, m, v, w1, m1, v1)
    torch._fused_adamw_(
        new, gradients, mean, square, [], _numbers[key], lr=LR, beta1=BETAS[0], beta2=BETAS[1], weight_decay=SHRINK,
        eps=TINY, amsgrad=False, maximize=False,
    )  # fmt: skip


def graph(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The first version, engine and all, captured once for each set of addresses and replayed: isolates dispatch. CUDA only."""
    captured_calls.replay(loop, x, t, w, m, v, w1, m1, v1)


def compiled(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """Forward, backward and update as one function through torch.compile. CUDA only: a CPU compiles for long."""
    _whole_step()(x, t, w, m, v, w1, m1, v1)


@functools.cache
def _whole_step() -> Callable[..., None]:
    def step(x: Tensor, t: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
        g = torch.func.grad(lambda leaf: _loss([part for layer in leaf.unbind() for part in layer.unbind()], x, t))(w)
        m1.copy_(torch.lerp(m, g, 1 - BETAS[0]))
        v1.copy_(v * BETAS[1] + (1 - BETAS[1]) * g * g)
        w1.copy_(w * (1 - LR * SHRINK) - LR / FIRST * m1 / ((v1 / SECOND).sqrt() + TINY))

    return torch.compile(step, dynamic=False)


def _loss(parts: list[Tensor], x: Tensor, t: Tensor) -> Tensor:
    for into, back in zip(parts[::2], parts[1::2], strict=True):
        d, h = into.shape
        a = torch.tanh(rms_norm(x, (d,), eps=1e-6) @ into / d**0.5)
        x = x + a @ back.t() / h**0.5
    return 0.5 * (x - t).square().sum() / x.shape[0] ** 0.5


def _gradients(x: Tensor, t: Tensor, w: Tensor) -> list[Tensor]:
    """A gradient for each of the 2 * layers parameters."""
    leaves = [part.detach().requires_grad_() for part in w.flatten(0, 1).unbind()]
    return list(torch.autograd.grad(_loss(leaves, x, t), leaves))


def _adamw(g: Tensor, w: Tensor, m: Tensor, v: Tensor, w1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """Decoupled decay, both moments, bias correction."""
    torch.lerp(m, g, 1 - BETAS[0], out=m1)
    torch.mul(v, BETAS[1], out=v1)
    v1.addcmul_(g, g, value=1 - BETAS[1])
    torch.mul(w, 1 - LR * SHRINK, out=w1)
    w1.addcdiv_(m1, (v1 / SECOND).sqrt_().add_(TINY), value=-LR / FIRST)


def _copied(*tensors: Tensor) -> list[list[Tensor]]:
    """The new weights and moments, holding the old ones, as lists of parameters."""
    for old, new in zip(tensors[:3], tensors[3:], strict=True):
        new.copy_(old)
    return [list(new.flatten(0, 1).unbind()) for new in tensors[3:]]
