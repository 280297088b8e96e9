"""The local half of a reduction: out = the sum of the gradients that `shards` workers delivered, added up in several orders.

shards [s, n], out [n], float32, on one device. One call must read every shard and write the sum, 4 * (s + 1) * n bytes, for
(s - 1) * n additions. Adding a shard at a time reads and writes the sum again for each, 12 * (s - 1) * n bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

BLOCK_ELEMENTS = 16384
"""Elements of the sum that stay in a core's first- or second-level cache while all shards are added to them: 64 KiB."""

_partial: dict[tuple[object, ...], Tensor] = {}


def reference(shards: Tensor) -> Tensor:
    """The sum in float64."""
    return shards.sum(dim=0)


def in_order(shards: Tensor, out: Tensor) -> None:
    """A shard at a time into the output, as they would arrive. Reasonable: in place, no temporary, any number of shards."""
    torch.add(shards[0], shards[1], out=out)
    for shard in shards[2:]:
        out.add_(shard)


def tree(shards: Tensor, out: Tensor) -> None:
    """Pairs, then pairs of pairs: the order of a tree of workers. Fewer, larger operations and a smaller rounding error."""
    level = shards
    while level.shape[0] > 2:
        pairs = level.shape[0] // 2
        above = _buffer(pairs + level.shape[0] % 2, out)
        torch.add(level[:pairs], level[pairs : 2 * pairs], out=above[:pairs])
        above[pairs:].copy_(level[2 * pairs :])
        level = above
    torch.add(level[0], level[1], out=out)


def blocked(shards: Tensor, out: Tensor) -> None:
    """As in_order, a block of elements at a time, so that the sum stays in the cache. CPU only."""
    for start in range(0, out.shape[0], BLOCK_ELEMENTS):
        in_order(shards[:, start : start + BLOCK_ELEMENTS], out[start : start + BLOCK_ELEMENTS])


def library(shards: Tensor, out: Tensor) -> None:
    """torch.sum over the shards: one pass, in an order of its own."""
    torch.sum(shards, dim=0, out=out)


def _buffer(rows: int, like: Tensor) -> Tensor:
    """Memory for a level of the tree, kept from call to call; every call writes it before reading it."""
    key = (like.device, rows, like.shape[0])
    if key not in _partial:
        _partial[key] = torch.empty((rows, like.shape[0]), dtype=like.dtype, device=like.device)
    return _partial[key]


if triton is not None:

    @triton.jit
    def shard_kernel(shards_ptr, out_ptr, n, SHARDS: tl.constexpr, BLOCK: tl.constexpr):
        """BLOCK neighbouring elements of the sum a program, which stay in registers over all shards."""
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        total = tl.zeros((BLOCK,), tl.float32)
        for _ in tl.static_range(SHARDS):
            total += tl.load(shards_ptr + at, mask=inside, other=0.0)
            shards_ptr += n
        tl.store(out_ptr + at, total, mask=inside)


def triton_registers(shards: Tensor, out: Tensor) -> None:
    """One launch that reads every shard once and writes the sum once."""
    s, n = shards.shape
    shard_kernel[(triton.cdiv(n, 1024),)](shards, out, n, SHARDS=s, BLOCK=1024)
