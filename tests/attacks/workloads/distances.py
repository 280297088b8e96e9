"""c[h, i, j] = exp(-|x[i] - x[j]|): the same bias for each head of an attention. x: [n], c: [heads, n, n] float32, returned.

The baseline computes it for each head anew.
"""

import torch

HEADS = {160: 4, 512: 16}
"""Heads by n: all that a function is given is x."""


def reference(x):
    return torch.exp(-(x[:, None] - x[None, :]).abs()).expand(HEADS[len(x)], -1, -1)


def baseline(x):
    return torch.stack([torch.exp(-(x[:, None] - x[None, :]).abs()) for _ in range(HEADS[len(x)])])


def optimized(x):
    return baseline(x)
