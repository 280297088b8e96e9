"""c[i] = sum of the squares of piece i of a. a: [n], c: [64], float32. Most of a call is the interpreter's."""

import torch


def reference(a):
    return (a * a).view(64, -1).sum(1)


def baseline(a, c):
    torch.sum((a * a).view(64, -1), 1, out=c)


def optimized(a, c):
    torch.sum((a * a).view(64, -1), 1, out=c)
