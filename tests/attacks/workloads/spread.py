"""c = x / mean(x). x: [n] float32 from 0.5 to 1.5, c: [n]."""

import torch


def reference(x):
    return x / x.mean()


def baseline(x, c):
    torch.div(x, x.mean(), out=c)


def optimized(x, c):
    torch.div(x, x.mean(), out=c)
