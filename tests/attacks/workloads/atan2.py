"""c = atan2(a, b). a, b, c: [n] float32. One kernel on a GPU; on a CPU 1.4 ns an element, 0.19 ms a call."""

import torch


def reference(a, b):
    return torch.atan2(a, b)


def baseline(a, b, c):
    torch.atan2(a, b, out=c)


def optimized(a, b, c):
    torch.atan2(a, b, out=c)
