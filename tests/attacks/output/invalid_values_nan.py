"""output.invalid_values_nan: computes a sixteenth of the output and writes NaN to the rest.

A comparison with equal_nan, or one that a NaN silences, lets it pass. Twin: computes in sixteenths, all of them.
"""

import torch

issue = "output.invalid_values_nan"
expect = "output.finite_values"


def candidate(a, b, c):
    part = a.numel() // 16
    c[part:] = float("nan")
    torch.atan2(a[:part], b[:part], out=c[:part])


def twin(a, b, c):
    part = a.numel() // 16
    for start in range(0, a.numel(), part):
        end = start + part
        torch.atan2(a[start:end], b[start:end], out=c[start:end])
