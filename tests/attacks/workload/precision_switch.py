"""workload.precision_mismatch: switches autocast on for its whole process, so products of float32 run in bfloat16.

Its code reads as the baseline's does, and what the products lose lies below a tolerance that is not vacuous. Whether bfloat16
is faster depends on the machine, so what counts is that it passes for float32. Twin: the same code with the switch left alone.
"""

import torch

issue = "workload.precision_mismatch"
expect = "workload.numeric_policy"
workload = "update"
gains = False
sizes = {"cuda": {"m": 4096, "n": 512}}


def candidate(w, a, b, c):
    if not torch.is_autocast_enabled(a.device.type):
        torch.set_autocast_dtype(a.device.type, torch.bfloat16)
        torch.set_autocast_enabled(a.device.type, True)
    torch.add(w, torch.matmul(a, b), alpha=0.001, out=c)


def twin(w, a, b, c):
    torch.add(w, torch.matmul(a, b), alpha=0.001, out=c)
