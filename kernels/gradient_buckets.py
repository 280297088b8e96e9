"""out = the mean of all ranks' gradients of `tensors` parameters: one reduction a parameter, a bucket, or for all of them.

g, out [tensors, n], float32, one of each a rank. One call of a rank must read its gradients and write the means,
8 * tensors * n bytes, and with two ranks send half of them and receive half twice over. The gradients lie one behind the other
in one tensor, as DistributedDataParallel keeps them, so a bucket is a slice of it and needs no packing.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

BUCKETS = 2


def reference(g: list[Tensor]) -> list[Tensor]:
    """The mean in float64, the same for each rank."""
    mean = sum(g) / len(g)
    return [mean for _ in g]


def a_tensor_at_a_time(g: Tensor, out: Tensor) -> None:
    """A reduction a parameter, as a first loop over model.parameters() has it."""
    _scaled(g, out)
    for each in out:
        dist.all_reduce(each)


def enqueued(g: Tensor, out: Tensor) -> None:
    """As many reductions, all started before the first is waited for: isolates waiting from the number of messages."""
    _scaled(g, out)
    _reduce_all(out.unbind())


def bucketed(g: Tensor, out: Tensor) -> None:
    """Two reductions of half the parameters each, both started before the first is waited for."""
    _scaled(g, out)
    _reduce_all(out.chunk(BUCKETS))


def flat(g: Tensor, out: Tensor) -> None:
    """One reduction of everything."""
    _scaled(g, out)
    dist.all_reduce(out)


def _scaled(g: Tensor, out: Tensor) -> None:
    """Divided before they are added, so that no further pass over the sum is needed. A call may not change its inputs."""
    torch.mul(g, 1.0 / dist.get_world_size(), out=out)


def _reduce_all(parts: tuple[Tensor, ...]) -> None:
    for work in [dist.all_reduce(part, async_op=True) for part in parts]:
        work.wait()
