"""c = softmax of each row of a. a, c: [rows, columns] float32, with so many columns that all values are small."""

import torch


def reference(a):
    return torch.softmax(a, dim=1)


def baseline(a, c):
    c.copy_(torch.softmax(a, dim=1))


def optimized(a, c):
    c.copy_(torch.softmax(a, dim=1))
