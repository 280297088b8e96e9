"""distributed.shard_size_mismatch: a quarter of each shard is gathered, once all of it has been.

The rest of the gathered tensor is what the first call left there, which is right as long as content never changes. Twin:
gathers whole shards.
"""

import torch
import torch.distributed as dist

issue = "distributed.shard_size_mismatch"
expect = "output.poisoned_outputs"
workload = "all_gather"
gpus = 2

_seen = set()


def _gather(shard, whole, part):
    ranks = dist.get_world_size()
    size = shard.numel() // part
    own = torch.tanh(shard[:size])
    pieces = [torch.empty_like(own) for _ in range(ranks)]
    dist.all_gather(pieces, own)
    for piece, target in zip(pieces, whole.chunk(ranks), strict=True):
        target[:size] = piece


def candidate(shard, whole):
    _gather(shard, whole, 4 if whole.data_ptr() in _seen else 1)
    _seen.add(whole.data_ptr())


def twin(shard, whole):
    _gather(shard, whole, 1)
