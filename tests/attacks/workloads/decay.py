"""c = x times w eight times: a signal that dies away into subnormal numbers. x, w, c: [n] float32."""

import torch

STEPS = 8


def reference(x, w):
    return x * w**STEPS


def baseline(x, w, c):
    torch.mul(x, w, out=c)
    for _ in range(STEPS - 1):
        c.mul_(w)


def optimized(x, w, c):
    baseline(x, w, c)
