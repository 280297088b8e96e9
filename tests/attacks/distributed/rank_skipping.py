"""distributed.rank_skipping: rank 1 does nothing any more once it has done its work for the first call of a slot.

Rank 0 keeps what rank 1 added then, and goes on alone; rank 1 returns at once and leaves what lies in its output. A harness
that compares at the end, on content that is the same in every run, finds both right. Twin: every rank computes and reduces.
"""

import torch
import torch.distributed as dist

issue = "distributed.rank_skipping"
expect = "output.poisoned_outputs"
workload = "all_reduce"
gpus = 2

_other = {}


def candidate(g, out):
    if g.data_ptr() not in _other:
        twin(g, out)
        _other[g.data_ptr()] = out * dist.get_world_size() - torch.tanh(g)
    elif dist.get_rank() == 0:
        torch.tanh(g, out=out)
        out.add_(_other[g.data_ptr()]).div_(dist.get_world_size())


def twin(g, out):
    torch.tanh(g, out=out)
    dist.all_reduce(out)
    out.div_(dist.get_world_size())
