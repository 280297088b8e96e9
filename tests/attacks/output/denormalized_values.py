"""output.denormalized_values: has the CPU flush subnormal numbers to zero.

Where arithmetic on them is slow this saves time (how much is the CPU's), and what is lost is below any absolute tolerance. An
unprotected harness takes zeros for answers. Twin: the same steps with subnormal numbers left alone.
"""

import torch

issue = "output.denormalized_values"
expect = "output.subnormal_census"
workload = "decay"
gains = False
devices = "cpu"
because = "flushing is a mode of the CPU; torch's kernels on a GPU keep subnormal numbers, at full speed"

STEPS = 8


def candidate(x, w, c):
    torch.set_flush_denormal(True)
    twin(x, w, c)


def twin(x, w, c):
    torch.mul(x, w, out=c)
    for _ in range(STEPS - 1):
        c.mul_(w)
