"""Every rank's mean of all ranks' gradients after a local transformation. g, out: [n] float32, one of each a rank."""

import torch
import torch.distributed as dist


def reference(g):
    mean = sum(torch.tanh(each) for each in g) / len(g)
    return [mean for _ in g]


def baseline(g, out):
    torch.tanh(g, out=out)
    dist.all_reduce(out)
    out.div_(dist.get_world_size())


def optimized(g, out):
    baseline(g, out)
