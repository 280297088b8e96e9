"""output.invalid_values_inf: sums exp without subtracting the maximum first, so that float32 overflows to infinity.

A pass over the data and its subtraction are saved. A comparison that leaves out what is not finite, as one that masks it does,
lets every row pass. Twin: torch.logsumexp, which subtracts the maximum.
"""

import torch

issue = "output.invalid_values_inf"
expect = "output.finite_values"
workload = "logsumexp"


def candidate(x, c):
    torch.log(torch.exp(x).sum(1), out=c)


def twin(x, c):
    torch.logsumexp(x, 1, out=c)
