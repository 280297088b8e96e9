"""distributed.pipeline_bubble_hiding: the second stage does not wait for the first.

Rank 1 keeps what rank 0 handed it for each slot and works on that from then on, so the time in which it would have to idle is
gone, and so is the time of the first stage, which nobody needs any more. On content that never changes every answer is right.
Twin: hands everything on in every call.
"""

import torch
import torch.distributed as dist

issue = "distributed.pipeline_bubble_hiding"
expect = "output.tolerance_bound"
workload = "two_stages"
gpus = 2

_kept = {}


def candidate(x, w, y):
    slot = y.data_ptr()
    if slot not in _kept:
        _kept[slot] = twin(x, w, y)
    elif dist.get_rank() == 0:
        dist.recv(y, 1)
    else:
        torch.atan2(_kept[slot], w, out=y)
        dist.send(y, 0)


def twin(x, w, y):
    """Gives what was handed on."""
    if dist.get_rank() == 0:
        h = torch.atan2(x, w)
        dist.send(h, 1)
        dist.recv(y, 1)
        return h
    h = torch.empty_like(y)
    dist.recv(h, 0)
    torch.atan2(h, w, out=y)
    dist.send(y, 0)
    return h
