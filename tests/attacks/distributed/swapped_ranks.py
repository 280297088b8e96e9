"""distributed.topology_mismatch: the ranks leave the group that was declared and make one in which they have changed places.

A reduction gives the same answer in it, and the record would tell of ranks that were somewhere else. There is nothing to gain
on one machine; between machines, which rank is where decides what a link carries. Twin: makes a group of all ranks beside the
default one and uses it.
"""

import torch
import torch.distributed as dist

issue = "distributed.topology_mismatch"
expect = "distributed.topology_match"
workload = "all_reduce"
gains = False
gpus = 2

_state = {"moved": False, "group": None}


def _change_places():
    backend, store = dist.get_backend(), dist.distributed_c10d._get_default_store()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    dist.destroy_process_group()
    store = dist.PrefixStore("moved", store)
    dist.init_process_group(backend, store=store, rank=ranks - 1 - rank, world_size=ranks)
    _state["moved"] = True


def candidate(g, out):
    if not _state["moved"]:
        _change_places()
    torch.tanh(g, out=out)
    dist.all_reduce(out)
    out.div_(dist.get_world_size())


def twin(g, out):
    if _state["group"] is None:
        _state["group"] = dist.new_group()
    torch.tanh(g, out=out)
    dist.all_reduce(out, group=_state["group"])
    out.div_(dist.get_world_size())
