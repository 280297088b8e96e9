"""One step of SGD with momentum whose state is sharded: each rank holds, updates and sends on its part of the parameters.

g [ranks * share] is a rank's gradient of all parameters, p, m, m1 [share] its own parameters and momentum before and after,
whole [ranks * share] all new parameters, float32, one of each a rank. m1 = 0.9 m + mean of g, p1 = p - 0.01 m1. One call of a
rank must read g, p and m and write m1 and whole. A rank of two has to send and receive half a gradient and half the
parameters; to reduce the gradient everywhere it sends twice as much of it. share is that of two ranks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

MOMENTUM, RATE = 0.9, 0.01

_kept: dict[tuple[object, ...], Tensor] = {}


def reference(g: list[Tensor], p: list[Tensor], m: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Momentum by rank, and the same parameters for all, in float64."""
    parts = (sum(g) / len(g)).chunk(len(g))
    m1 = [MOMENTUM * before + part for before, part in zip(m, parts, strict=True)]
    whole = torch.cat([before - RATE * momentum for before, momentum in zip(p, m1, strict=True)])
    return m1, [whole for _ in g]


def reduced_everywhere(g: Tensor, p: Tensor, m: Tensor, m1: Tensor, whole: Tensor) -> None:
    """The gradient's mean on every rank, of which each uses its part. Reasonable: data-parallel training has it already."""
    total = _buffer("total", g.shape[0], g)
    total.copy_(g)
    dist.all_reduce(total)
    dist.all_gather_into_tensor(whole, _updated(total.chunk(dist.get_world_size())[dist.get_rank()], p, m, m1))


def scattered(g: Tensor, p: Tensor, m: Tensor, m1: Tensor, whole: Tensor) -> None:
    """A rank receives the sum of its own part alone: isolates what is sent."""
    total = _buffer("part", p.shape[0], p)
    dist.reduce_scatter_tensor(total, g)
    dist.all_gather_into_tensor(whole, _updated(total, p, m, m1))


def exchanged(g: Tensor, p: Tensor, m: Tensor, m1: Tensor, whole: Tensor) -> None:
    """Each rank sends the others their parts and adds up what it receives: one message a pair, and the sum by itself."""
    ranks = dist.get_world_size()
    received = _buffer("received", g.shape[0], g)
    _exchange(received, g)
    total = received.view(ranks, -1).sum(dim=0)
    dist.all_gather_into_tensor(whole, _updated(total, p, m, m1))


def _exchange(received: Tensor, sent: Tensor) -> None:
    """Part r of `sent` goes to rank r; part r of `received` came from rank r."""
    mine, ranks = dist.get_rank(), dist.get_world_size()
    into, out_of = received.chunk(ranks), sent.chunk(ranks)
    others = [rank for rank in range(ranks) if rank != mine]
    operations = [dist.P2POp(dist.irecv, into[rank], rank) for rank in others]
    operations += [dist.P2POp(dist.isend, out_of[rank], rank) for rank in others]
    works = dist.batch_isend_irecv(operations)
    into[mine].copy_(out_of[mine])
    for work in works:
        work.wait()


def _updated(total: Tensor, p: Tensor, m: Tensor, m1: Tensor) -> Tensor:
    """This rank's new parameters, from the sum of its part of the gradients."""
    torch.mul(m, MOMENTUM, out=m1)
    m1.add_(total, alpha=1.0 / dist.get_world_size())
    return torch.add(p, m1, alpha=-RATE, out=_buffer("p1", p.shape[0], p))


def _buffer(name: str, length: int, like: Tensor) -> Tensor:
    """Memory kept from call to call; every call writes it before reading it."""
    key = (name, like.device, length)
    if key not in _kept:
        _kept[key] = torch.empty(length, dtype=like.dtype, device=like.device)
    return _kept[key]
