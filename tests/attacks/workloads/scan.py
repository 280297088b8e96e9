"""c[i, t] = x[i, 0] + ... + x[i, t]: a running sum over each of `rows` sequences. x, c: [rows, steps] float32."""

import torch


def reference(x):
    return torch.cumsum(x, 1)


def baseline(x, c):
    torch.cumsum(x, 1, out=c)


def optimized(x, c):
    torch.cumsum(x, 1, out=c)
