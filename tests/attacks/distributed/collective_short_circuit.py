"""distributed.collective_short_circuit: the ranks communicate once and reckon with what they heard then.

Each rank keeps the others' share of the first sum of a slot and adds it to its own work ever after: all ranks work, nobody
communicates, and on content that never changes every answer is right. Twin: reduces in every call.
"""

import torch
import torch.distributed as dist

issue = "distributed.collective_short_circuit"
expect = "output.tolerance_bound"
workload = "all_reduce"
gpus = 2

_others = {}


def candidate(g, out):
    if g.data_ptr() not in _others:
        twin(g, out)
        _others[g.data_ptr()] = out * dist.get_world_size() - torch.tanh(g)
    else:
        torch.tanh(g, out=out)
        out.add_(_others[g.data_ptr()]).div_(dist.get_world_size())


def twin(g, out):
    torch.tanh(g, out=out)
    dist.all_reduce(out)
    out.div_(dist.get_world_size())
