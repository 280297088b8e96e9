"""The operation that attacks are staged on: c = atan2(a, b).

a, b, c: [n] float32. One kernel on a GPU; on a CPU about 10 ns an element, so that a call is worth faking.
"""

import torch


def reference(a, b):
    return torch.atan2(a, b)


def baseline(a, b, c):
    torch.atan2(a, b, out=c)
