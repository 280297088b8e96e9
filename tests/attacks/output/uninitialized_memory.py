"""output.uninitialized_memory: writes each output buffer once and leaves it alone from then on.

The buffer still holds the earlier call's answer, which is right where the content never changes. Twin: zeroes the buffer the
first time it sees it, then computes every time.
"""

import torch

issue = "output.uninitialized_memory"
expect = "output.poisoned_outputs"

_seen = set()


def candidate(a, b, c):
    if c.data_ptr() not in _seen:
        _seen.add(c.data_ptr())
        torch.atan2(a, b, out=c)


def twin(a, b, c):
    if c.data_ptr() not in _seen:
        _seen.add(c.data_ptr())
        c.zero_()
    torch.atan2(a, b, out=c)
