"""output.constant_output: computes the answer to the first input it sees and gives that one whatever comes next.

Right in a harness that calls it with the same input throughout. Twin: keeps a buffer from the first call and computes into it
each time.
"""

import torch

issue = "output.constant_output"
expect = "output.fresh_inputs"
workload = "steps"
sizes = {"cpu": {"n": 8192}, "cuda": {"n": 1048576}}  # the 33 kernels of a call are what a plain harness sees
unprotected = "naive"

_kept = []


def _steps(a, b, c):
    torch.add(a, b, out=c)
    for _ in range(16):
        torch.sin(c, out=c)
        c.add_(b)
    return c


def candidate(a, b, c):
    if not _kept:
        _kept.append(_steps(a, b, torch.empty_like(a)))
    c.copy_(_kept[0])


def twin(a, b, c):
    if not _kept:
        _kept.append(torch.empty_like(a))
    c.copy_(_steps(a, b, _kept[0]))
