"""c = log |Gamma(a)| in double precision. a, c: [n] float64, a from 0.5 to 20.5. On a CPU 13 ns an element."""

import torch


def reference(a):
    return torch.lgamma(a)


def baseline(a, c):
    torch.lgamma(a, out=c)


def optimized(a, c):
    torch.lgamma(a, out=c)
