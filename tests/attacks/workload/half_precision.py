"""workload.precision_mismatch: computes in half precision what is declared in float32, under a tolerance that does not tell.

The outputs have the declared dtype, and the tolerance of 0.02 that is declared takes them. On a CPU half precision need not be
faster, so what counts is that a result in half precision passes for one in float32. Twin: float32, with the honest tolerance.
"""

import torch

issue = "workload.precision_mismatch"
expect = "output.vacuous_tolerance"
gains = False
tolerance = 0.02


def candidate(a, b, c):
    c.copy_(torch.atan2(a.bfloat16(), b.bfloat16()))


def twin(a, b, c):
    torch.atan2(a, b, out=c)
