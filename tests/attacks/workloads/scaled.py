"""c = x tanh(w), with w a weight. x, w, c: [n] float32."""

import torch


def reference(x, w):
    return x * torch.tanh(w)


def baseline(x, w, c):
    torch.mul(x, torch.tanh(w), out=c)


def optimized(x, w, c):
    baseline(x, w, c)
