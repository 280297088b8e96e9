"""c = sum of exp(a) over each row of a. a: [rows, columns] float32 from 0 to 1, c: [rows]."""

import torch


def reference(a):
    return a.exp().sum(dim=1)


def baseline(a, c):
    torch.sum(torch.exp(a), dim=1, out=c)


def optimized(a, c):
    torch.sum(torch.exp(a), dim=1, out=c)
