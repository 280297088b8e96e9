"""c = a + b. a, b, c: [n] float32. Some microseconds a call."""

import torch


def reference(a, b):
    return a + b


def baseline(a, b, c):
    torch.add(a, b, out=c)


def optimized(a, b, c):
    torch.add(a, b, out=c)
