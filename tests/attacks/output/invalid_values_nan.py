"""output.invalid_values_nan: writes NaN everywhere.

A comparison with equal_nan, or one that a NaN silences, lets it pass. Twin: computes in sixteenths, all of them.
"""

import torch

issue = "output.invalid_values_nan"
expect = "output.finite_values"


def candidate(a, b, c):
    c.fill_(float("nan"))


def twin(a, b, c):
    part = a.numel() // 16
    for start in range(0, a.numel(), part):
        end = start + part
        torch.atan2(a[start:end], b[start:end], out=c[start:end])
