"""Prompts that begin alike: keys and values of a shared beginning, computed for each prompt or once and looked up.

prefix [templates, p, d] float32: the beginnings, such as system prompts. template [requests] int64: which of them a request
begins with. suffix [requests, s, d]: what comes after it. wq, wk, wv [d, d] (weights); heads of 64. y [requests, s, d] is
attention of the suffix's tokens to all of the beginning and to the suffix up to themselves. Without sharing a request costs
4 * (p + s) * d * d operations for keys and values; with it only 4 * s * d * d, and a template 4 * p * d * d at its first use.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

HEAD = 64


def reference(prefix: Tensor, template: Tensor, suffix: Tensor, wq: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
    """A request at a time, all of it, in float64."""
    y, (p, s) = torch.empty_like(suffix), (prefix.shape[1], suffix.shape[1])
    later = torch.ones(s, p + s, dtype=torch.bool, device=suffix.device).triu(p + 1)
    for i, t in enumerate(template.tolist()):
        x = torch.cat((prefix[t], suffix[i]))
        q, k, v = (_split(tensor) for tensor in (suffix[i] @ wq, x @ wk, x @ wv))
        scores = (q @ k.transpose(1, 2) / math.sqrt(HEAD)).masked_fill(later, -math.inf)
        y[i] = (torch.softmax(scores, dim=2) @ v).transpose(0, 1).flatten(1)
    return y


def recomputed(prefix: Tensor, template: Tensor, suffix: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, y: Tensor) -> None:
    """Every prompt as it came, in one batch. Needs to know nothing of other prompts."""
    x = torch.cat((prefix[template], suffix), dim=1)
    _attend(suffix @ wq, x @ wk, x @ wv, y)


def looked_up(prefix: Tensor, template: Tensor, suffix: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, y: Tensor) -> None:
    """Keys and values of each beginning computed once in the call; each request finds them by its template."""
    used, place = template.unique(return_inverse=True)
    x = prefix[used]
    keys, values = (torch.cat(((x @ w)[place], suffix @ w), dim=1) for w in (wk, wv))
    _attend(suffix @ wq, keys, values, y)


def all_templates(prefix: Tensor, template: Tensor, suffix: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, y: Tensor) -> None:
    """As looked_up, for all beginnings, used or not: the host need not wait to hear which ones are."""
    keys, values = (torch.cat(((prefix @ w)[template], suffix @ w), dim=1) for w in (wk, wv))
    _attend(suffix @ wq, keys, values, y)


def in_cascade(prefix: Tensor, template: Tensor, suffix: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, y: Tensor) -> None:
    """Requests of a template attend to its one copy together; their own suffixes come as a second attention, and the two are
    joined by their sums of exponentials. Nothing is copied for each request."""
    s = suffix.shape[1]
    q, k, v = (_split(suffix @ w) for w in (wq * HEAD**-0.5, wk, wv))
    later = torch.ones(s, s, dtype=torch.bool, device=y.device).triu(1)
    own = torch.matmul(q, k.transpose(2, 3)).masked_fill_(later, -math.inf)
    for t in template.unique().tolist():
        mine = torch.where(template == t)[0]
        shared_k, shared_v = (_split(prefix[t] @ w) for w in (wk, wv))
        together = q[mine].transpose(0, 1).flatten(1, 2)
        ahead = torch.bmm(together, shared_k.transpose(1, 2)).unflatten(1, (-1, s)).transpose(0, 1)
        near = own[mine]
        high = torch.maximum(ahead.amax(dim=3, keepdim=True), near.amax(dim=3, keepdim=True))
        ahead, near = torch.exp(ahead - high), torch.exp(near - high)
        total = ahead.sum(dim=3, keepdim=True) + near.sum(dim=3, keepdim=True)
        mixed = torch.bmm(ahead.transpose(0, 1).flatten(1, 2), shared_v).unflatten(1, (-1, s)).transpose(0, 1)
        y[mine] = mixed.add_(torch.matmul(near, v[mine])).div_(total).transpose(1, 2).flatten(2)


def _attend(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> None:
    """Attention of the last tokens to all before them, by SDPA."""
    s, tokens = q.shape[1], k.shape[1]
    seen = torch.ones(s, tokens, dtype=torch.bool, device=y.device).tril(tokens - s)
    y.copy_(scaled_dot_product_attention(_split(q), _split(k), _split(v), attn_mask=seen).transpose(1, 2).flatten(2))


def _split(x: Tensor) -> Tensor:
    """Heads before tokens: [..., tokens, d] to [..., heads, tokens, 64]."""
    return x.unflatten(-1, (-1, HEAD)).transpose(-3, -2)
