"""tanh of every rank's shard, gathered on all ranks. shard: [n], whole: [ranks * n] float32, one of each a rank."""

import torch
import torch.distributed as dist


def reference(shard):
    whole = torch.cat([torch.tanh(each) for each in shard])
    return [whole for _ in shard]


def baseline(shard, whole):
    own = torch.tanh(shard)
    dist.all_gather(list(whole.chunk(dist.get_world_size())), own)


def optimized(shard, whole):
    baseline(shard, whole)
