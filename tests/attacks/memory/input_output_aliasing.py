"""memory.input_output_aliasing: returns its own input, which an earlier call has filled with the answer.

The first call computes into the input; the later ones find the answer there and point at it. A harness that computed what it
expects before, and makes its inputs once, sees right outputs. Twin: computes into a buffer of its own, and the input stays.
"""

import torch

issue = "memory.input_output_aliasing"
expect = "memory.inputs_unchanged"
returns = True
unprotected = "naive"

_filled = set()
_kept = {}


def candidate(a, b):
    if a.data_ptr() not in _filled:
        _filled.add(a.data_ptr())
        torch.atan2(a, b, out=a)
    return a


def twin(a, b):
    if a.data_ptr() not in _kept:
        _kept[a.data_ptr()] = torch.empty_like(a)
    return torch.atan2(a, b, out=_kept[a.data_ptr()])
