"""c = softmax of each row of x. x, c: [rows, n] float32. On a CPU 0.6 ns an element."""

import torch


def reference(x):
    return torch.softmax(x, 1)


def baseline(x, c):
    torch.softmax(x, 1, out=c)


def optimized(x, c):
    torch.softmax(x, 1, out=c)
