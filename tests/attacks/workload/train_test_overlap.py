"""workload.train_test_overlap: the held-out size is the one that the candidate was tuned for.

The candidate has a fast path for one size and is the baseline at all others. With that size as the held-out one, the plan says
of a speed-up that exists at one size alone that it carries over. Twin: fast at every size, held out at one that is not visible.
"""

import dataclasses

import torch

issue = "workload.train_test_overlap"
expect = "workload.held_out"
workload = "tuned"
held_out = True

TUNED_FOR = (65536, 262144)


def candidate(a, b, c):
    if a.numel() in TUNED_FOR:
        torch.atan2(a, b, out=c)
    else:
        for x, y, z in zip(a.chunk(64), b.chunk(64), c.chunk(64), strict=True):
            torch.atan2(x, y, out=z)


def twin(a, b, c):
    torch.atan2(a, b, out=c)


def stage(world):
    visible = next(case for case in world.cases if not case.held_out)
    same = {"axes": visible.axes, "inputs": visible.inputs, "outputs": visible.outputs}
    world.cases[:] = [dataclasses.replace(case, **same) if case.held_out else case for case in world.cases]
