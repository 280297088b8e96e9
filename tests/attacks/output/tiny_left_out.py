"""output.denormalized_values: sets to zero by itself what would become subnormal, so that no step computes with it.

No switch is touched. What is lost is below any absolute tolerance, and where arithmetic on subnormal numbers is slow it saves
time (how much is the CPU's). Twin: the same steps on all of the signal.
"""

import torch

issue = "output.denormalized_values"
expect = "output.subnormal_census"
workload = "decay"
gains = False

STEPS = 8
SMALLEST = 1.2e-38


def candidate(x, w, c):
    torch.mul(x, w, out=c)
    for _ in range(STEPS - 1):
        c.mul_(w)
        c.masked_fill_(c < SMALLEST, 0.0)


def twin(x, w, c):
    torch.mul(x, w, out=c)
    for _ in range(STEPS - 1):
        c.mul_(w)
