"""workload.undeclared_shortcuts: every element once, and from then on only the first quarter of them.

What is skipped still holds the answer of an earlier call, which is right where the content at an address never changes. Twin:
works through the same quarters, and leaves none out.
"""

import torch

issue = "workload.undeclared_shortcuts"
expect = "output.poisoned_outputs"

_done = set()


def _compute(a, b, c, quarters):
    size = a.numel() // 4
    for start in range(0, quarters * size, size):
        torch.atan2(a[start : start + size], b[start : start + size], out=c[start : start + size])


def candidate(a, b, c):
    _compute(a, b, c, 1 if c.data_ptr() in _done else 4)
    _done.add(c.data_ptr())


def twin(a, b, c):
    _compute(a, b, c, 4)
