"""distributed.topology_mismatch: what was declared as two ranks runs as two groups of one.

After the first call of a slot the ranks leave their group and each makes one of its own, in which a reduction costs next to
nothing; what the other rank would add is remembered. Twin: makes a group of all ranks beside the default one and uses it.
"""

import tempfile

import torch
import torch.distributed as dist

issue = "distributed.topology_mismatch"
expect = "distributed.topology_match"
workload = "all_reduce"
measure = {"calls": (10, 48)}
gpus = 2

_others = {}
_state = {"alone": False, "group": None}


def _leave():
    backend = dist.get_backend()
    dist.destroy_process_group()
    with tempfile.NamedTemporaryFile(delete=False) as file:
        dist.init_process_group(backend, init_method=f"file://{file.name}-alone", rank=0, world_size=1)
    _state["alone"] = True


def candidate(g, out):
    torch.tanh(g, out=out)
    if g.data_ptr() not in _others and not _state["alone"]:
        own = out.clone()
        dist.all_reduce(out)
        _others[g.data_ptr()] = out - own
        out.div_(2)
        if len(_others) == 48:  # every slot of a batch is known
            _leave()
        return
    dist.all_reduce(out)
    out.add_(_others.get(g.data_ptr(), 0.0)).div_(2)


def twin(g, out):
    if _state["group"] is None:
        _state["group"] = dist.new_group()
    torch.tanh(g, out=out)
    dist.all_reduce(out, group=_state["group"])
    out.div_(2)
