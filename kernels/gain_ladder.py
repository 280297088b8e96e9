"""A transformer block on a prompt, rung by rung: what does each of the usual four steps add to those below it?

x, y [n, d], qkv [d, 3 * d], out [d, d], gate_up [d, 2 * h], down [h, d] (weights), float16, sums in float32; 64 numbers a
head. r = x + attention(norm(x) qkv / sqrt(d)) out / sqrt(d), g and u are the halves of norm(r) gate_up / sqrt(d), and
y = r + (silu(g) * u) down / sqrt(h); attention is causal. One call must read x and the weights and write y, for
2 * n * (4 * d * d + 3 * d * h + n * d) operations. All rungs have the same precision, declared in the tensors: what a
narrower type gains is another question.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import captured_calls
import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

HEAD = 64


def reference(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Every formula in float64."""
    q, k, v = ((_norm(x) @ part / x.shape[1] ** 0.5).view(x.shape[0], -1, HEAD).transpose(0, 1) for part in qkv.chunk(3, 1))
    r = x + _softmax_attention(q, k, v) @ out / x.shape[1] ** 0.5
    g, u = (_norm(r) @ gate_up / x.shape[1] ** 0.5).chunk(2, 1)
    return r + (g * torch.sigmoid(g) * u) @ down / down.shape[0] ** 0.5


def eager(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, y: Tensor) -> None:
    """Rung 0: a product for each projection, attention as its formula. What a model's first version looks like."""
    y.copy_(_block(x, qkv, out, gate_up, down, merged=False, attend=_softmax_attention))


def merged(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, y: Tensor) -> None:
    """Rung 1: one product for query, key and value, one for gate and up."""
    y.copy_(_block(x, qkv, out, gate_up, down, merged=True, attend=_softmax_attention))


def attention_alone(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, y: Tensor) -> None:
    """Rung 2 without rung 1: SDPA for the formula. Are the two gains independent?"""
    y.copy_(_block(x, qkv, out, gate_up, down, merged=False, attend=_fused_attention))


def attention(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, y: Tensor) -> None:
    """Rung 2: rung 1 with SDPA."""
    y.copy_(_block(x, qkv, out, gate_up, down, merged=True, attend=_fused_attention))


def graph(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, y: Tensor) -> None:
    """Rung 3: rung 2 captured once for each set of addresses and replayed. CUDA only."""
    captured_calls.replay(attention, x, qkv, out, gate_up, down, y)


def library(x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, y: Tensor) -> None:
    """Rung 2 through torch.compile, which fuses what lies between the products. CUDA only: a CPU compiles for long."""
    y.copy_(_compiled()(x, qkv, out, gate_up, down, merged=True, attend=_fused_attention))


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(_block, dynamic=False)


def _block(
    x: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor, merged: bool, attend: Callable[..., Tensor]
) -> Tensor:
    scale = x.shape[1] ** -0.5
    q, k, v = (part.view(x.shape[0], -1, HEAD).transpose(0, 1) for part in _products(_norm(x), qkv, 3, merged, scale))
    r = x + attend(q, k, v) @ out * scale
    g, u = _products(_norm(r), gate_up, 2, merged, scale)
    return r + (silu(g) * u) @ down * down.shape[0] ** -0.5


def _products(x: Tensor, w: Tensor, parts: int, merged: bool, scale: float) -> list[Tensor]:
    """x @ w * scale cut into `parts` blocks of columns, as one product or as one a block."""
    if merged:
        return list((x @ w * scale).chunk(parts, 1))
    return [x @ part * scale for part in w.chunk(parts, 1)]


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of [heads, n, 64] as its formula, [n, heads * 64]."""
    later = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.transpose(1, 2) * HEAD**-0.5).masked_fill(later, float("-inf"))
    return (torch.softmax(scores, 2) @ v).transpose(0, 1).flatten(1)


def _fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by SDPA, which never writes the scores."""
    made = scaled_dot_product_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), is_causal=True)
    return made[0].transpose(0, 1).flatten(1)


def _norm(x: Tensor) -> Tensor:
    return rms_norm(x, x.shape[-1:], eps=1e-6)
