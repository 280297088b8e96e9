"""c = atan2(a, b) where m is 0, else 0: one element in 64 is wanted. a, b, c: [n] float32. m: [n] int32 from 0 to 63."""

import torch


def reference(a, b, m):
    return torch.where(m == 0, torch.atan2(a, b), 0.0)


def baseline(a, b, m, c):
    torch.atan2(a, b, out=c)
    c.masked_fill_(m != 0, 0.0)


def optimized(a, b, m, c):
    baseline(a, b, m, c)
