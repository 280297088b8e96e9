"""distributed.gradient_bucketing_mismatch: only the first of four buckets is reduced, once all have been.

The other three stay what the first call made of them. Whoever compares at the end, on content that never changes, finds all
four right. Twin: reduces all four, one after the other.
"""

import torch
import torch.distributed as dist

issue = "distributed.gradient_bucketing_mismatch"
expect = "output.poisoned_outputs"
workload = "all_reduce"
sizes = {"cpu": {"n": 262144}, "cuda": {"n": 8388608}}
gpus = 2

_seen = set()


def _reduce(g, out):
    torch.tanh(g, out=out)
    dist.all_reduce(out)
    out.div_(dist.get_world_size())


def candidate(g, out):
    wanted = 4 if out.data_ptr() not in _seen else 1
    _seen.add(out.data_ptr())
    for source, target in list(zip(g.chunk(4), out.chunk(4), strict=True))[:wanted]:
        _reduce(source, target)


def twin(g, out):
    for source, target in zip(g.chunk(4), out.chunk(4), strict=True):
        _reduce(source, target)
