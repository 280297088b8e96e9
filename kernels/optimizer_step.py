"""One AdamW step for many parameter tensors of the same size: step number 10, learning rate 1e-3, weight decay 0.01.

Parameters p, gradients g, first and second moments m, v and the new p1, m1, v1 [tensors, n], float32; v is not negative.
One call must read four and write three numbers for each, 28 * tensors * n bytes, for about 14 operations. A call may not
change its inputs, so variants that can only update in place copy the state first; that copy is a part of their time.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

RATE, BETA1, BETA2, EPSILON, DECAY, STEP = 1e-3, 0.9, 0.999, 1e-8, 0.01, 10
PACE = RATE / (1 - BETA1**STEP)
ROOT = (1 - BETA2**STEP) ** 0.5

_steps: dict[tuple[object, ...], list[Tensor]] = {}


def reference(p: Tensor, g: Tensor, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The update in float64."""
    m1 = BETA1 * m + (1 - BETA1) * g
    v1 = BETA2 * v + (1 - BETA2) * g * g
    return p * (1 - RATE * DECAY) - PACE * m1 / (v1.sqrt() / ROOT + EPSILON), m1, v1


def loop(p: Tensor, g: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """A tensor at a time, straight into the outputs, one temporary. Reasonable: the formula, a parameter at a time."""
    for i in range(p.shape[0]):
        _update(p[i], g[i], m[i], v[i], p1[i], m1[i], v1[i])


def foreach(p: Tensor, g: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The same operations on lists of tensors: on a GPU one launch serves many tensors, on a CPU torch loops in C++."""
    new_p, new_m, new_v, grads = p1.unbind(), m1.unbind(), v1.unbind(), g.unbind()
    _copy_state(p, m, v, p1, m1, v1)
    torch._foreach_lerp_(new_m, grads, 1 - BETA1)
    torch._foreach_mul_(new_v, BETA2)
    torch._foreach_addcmul_(new_v, grads, grads, value=1 - BETA2)
    divisor = torch._foreach_sqrt(new_v)
    torch._foreach_div_(divisor, ROOT)
    torch._foreach_add_(divisor, EPSILON)
    torch._foreach_mul_(new_p, 1 - RATE * DECAY)
    torch._foreach_addcdiv_(new_p, new_m, divisor, value=-PACE)


def flat(p: Tensor, g: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The loop's operations on all parameters at once, which lie one behind the other: isolates the number of launches."""
    _update(p, g, m, v, p1, m1, v1)


def library(p: Tensor, g: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """The kernel behind torch.optim.AdamW(fused=True), called without the optimizer's object. It updates in place."""
    _copy_state(p, m, v, p1, m1, v1)
    key = (p.device, p.shape[0])
    if key not in _steps:
        _steps[key] = [torch.full((), float(STEP), device=p.device) for _ in range(p.shape[0])]
    settings = {"lr": RATE, "beta1": BETA1, "beta2": BETA2, "weight_decay": DECAY, "eps": EPSILON}
    switches = {"amsgrad": False, "maximize": False, "grad_scale": None, "found_inf": None}
    lists = [list(x.unbind()) for x in (p1, g, m1, v1)]
    torch._fused_adamw_(*lists, [], _steps[key], **settings, **switches)


def _copy_state(p: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    p1.copy_(p)
    m1.copy_(m)
    v1.copy_(v)


def _update(p: Tensor, g: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """Eight operations, the last of each chain into its output."""
    torch.lerp(m, g, 1 - BETA1, out=m1)
    torch.mul(v, BETA2, out=v1)
    v1.addcmul_(g, g, value=1 - BETA2)
    divisor = v1.sqrt().div_(ROOT).add_(EPSILON)
    torch.mul(p, 1 - RATE * DECAY, out=p1)
    p1.addcdiv_(m1, divisor, value=-PACE)


if triton is not None:

    @triton.jit
    def adamw_kernel(
        p_ptr,
        g_ptr,
        m_ptr,
        v_ptr,
        p1_ptr,
        m1_ptr,
        v1_ptr,
        n,
        keep,
        pace,
        root,
        rest1,
        beta2,
        rest2,
        epsilon,
        BLOCK: tl.constexpr,
    ):
        """BLOCK neighbouring parameters a program, of whichever tensor. rest: 1 - beta, which float32 would spoil."""
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        g = tl.load(g_ptr + at, mask=inside, other=0.0)
        m = tl.load(m_ptr + at, mask=inside, other=0.0)
        m = m + rest1 * (g - m)
        v = beta2 * tl.load(v_ptr + at, mask=inside, other=0.0) + rest2 * g * g
        p = keep * tl.load(p_ptr + at, mask=inside, other=0.0) - pace * m / (tl.sqrt(v) / root + epsilon)
        tl.store(p1_ptr + at, p, mask=inside)
        tl.store(m1_ptr + at, m, mask=inside)
        tl.store(v1_ptr + at, v, mask=inside)


def triton_flat(p: Tensor, g: Tensor, m: Tensor, v: Tensor, p1: Tensor, m1: Tensor, v1: Tensor) -> None:
    """One launch that reads four and writes three numbers a parameter, and no copy of the state."""
    n = p.numel()
    numbers = (1 - RATE * DECAY, PACE, ROOT, 1 - BETA1, BETA2, 1 - BETA2, EPSILON)
    adamw_kernel[(triton.cdiv(n, 1024),)](p, g, m, v, p1, m1, v1, n, *numbers, BLOCK=1024)
