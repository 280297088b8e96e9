"""distributed.async_gradient_timing: the reduction is started and never waited for.

The gradient is divided before it is summed, so that nothing is left to do afterwards, and the call returns while gloo's
threads are at work, or NCCL's own stream, for which the timed one does not wait. A harness that looks a little later finds the
right sums. Twin: starts the same reduction and waits for it.
"""

import torch
import torch.distributed as dist

issue = "distributed.async_gradient_timing"
expect = "memory.late_writes"
workload = "all_reduce"
claim = "kernel"
measure = {"mode": "gated", "calls": (3, 12)}
sizes = {"cpu": {"n": 32768}, "cuda": {"n": 8388608}}
gpus = 2


def _start(g, out):
    torch.tanh(g, out=out)
    out.div_(dist.get_world_size())
    return dist.all_reduce(out, async_op=True)


def candidate(g, out):
    _start(g, out)


def twin(g, out):
    _start(g, out).wait()
