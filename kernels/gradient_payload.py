"""out = the mean of all ranks' gradients, rounded to float16: is it sent as float32, as float16, or as int8 with scales?

g [n] float32, out [n] float16, one of each a rank. One call of a rank must read g and write out, 6 * n bytes. Of two ranks each
sends 4 * n bytes in float32, 2 * n in float16, and n + n / 64 as int8: 256 neighbours share a scale, their largest over 127.
float16 does not reach beyond 65504; gradients that do would need a scale of their own.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

BLOCK = 256
LARGEST = 127

_kept: dict[tuple[object, ...], Tensor] = {}


def reference(g: list[Tensor]) -> list[Tensor]:
    """The mean in float64, the same for each rank."""
    mean = sum(g) / len(g)
    return [mean for _ in g]


def float32_reduced(g: Tensor, out: Tensor) -> None:
    """Reduced in float32 and rounded at the end: nothing is lost on the way."""
    total = _buffer("total", g.shape, torch.float32, g)
    torch.mul(g, 1.0 / dist.get_world_size(), out=total)
    dist.all_reduce(total)
    out.copy_(total)


def float32_gathered(g: Tensor, out: Tensor) -> None:
    """Each rank gathers all gradients and adds them itself: isolates the collective from the size of what is sent."""
    ranks = dist.get_world_size()
    received = _buffer("received", (ranks, *g.shape), torch.float32, g)
    dist.all_gather_into_tensor(received.view(-1), g)
    out.copy_(received.mean(dim=0))


def float16_reduced(g: Tensor, out: Tensor) -> None:
    """Rounded first, reduced in place: half the bytes, and the sum is rounded once more."""
    torch.mul(g, 1.0 / dist.get_world_size(), out=out)
    dist.all_reduce(out)


def float16_gathered(g: Tensor, out: Tensor) -> None:
    """Rounded first, gathered, added in float32: half the bytes of float32_gathered."""
    ranks = dist.get_world_size()
    out.copy_(g)
    received = _buffer("received", (ranks, *g.shape), torch.float16, g)
    dist.all_gather_into_tensor(received.view(-1), out)
    out.copy_(received.sum(dim=0, dtype=torch.float32).div_(ranks))


def int8_gathered(g: Tensor, out: Tensor) -> None:
    """Codes and scales in one message of a quarter of the bytes, at the price of making and reading them."""
    ranks, n = dist.get_world_size(), g.shape[0]
    blocks = -(-n // BLOCK)
    padded = _buffer("padded", (blocks, BLOCK), torch.float32, g)
    padded.view(-1)[:n].copy_(g)
    padded.view(-1)[n:].zero_()
    scale = padded.abs().amax(dim=1, keepdim=True).clamp_(min=1e-30).div_(LARGEST)
    sent = _buffer("sent", (blocks * (BLOCK + 4),), torch.int8, g)
    sent[: blocks * BLOCK].view(blocks, BLOCK).copy_(padded.div_(scale).round_())
    sent[blocks * BLOCK :].view(torch.float32).copy_(scale.view(-1))
    received = _buffer("received", (ranks, sent.shape[0]), torch.int8, g)
    dist.all_gather_into_tensor(received.view(-1), sent)
    total = padded.zero_()
    for message in received:
        codes, scales = message[: blocks * BLOCK].view(blocks, BLOCK), message[blocks * BLOCK :].view(torch.float32)
        total.addcmul_(codes.float(), scales.unsqueeze(1), value=1.0 / ranks)
    out.copy_(total.view(-1)[:n])


def _buffer(name: str, shape: tuple[int, ...], dtype: torch.dtype, like: Tensor) -> Tensor:
    """Memory kept from call to call; every call writes it before reading it."""
    key = (name, like.device, shape, dtype)
    if key not in _kept:
        _kept[key] = torch.empty(shape, dtype=dtype, device=like.device)
    return _kept[key]
