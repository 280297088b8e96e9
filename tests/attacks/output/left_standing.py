"""output.uninitialized_memory: leaves standing the part of the output that comes from weights, once it has written it.

That part is the same in every call, so what stands is right: no comparison with the reference or with earlier content sees
anything, only that it was not written. Twin: writes both parts.
"""

import torch

issue = "output.uninitialized_memory"
expect = "output.poisoned_outputs"
workload = "table"

_written = set()


def candidate(a, b, u, v, c):
    first = a.numel()
    torch.atan2(a, b, out=c[:first])
    if c.data_ptr() not in _written:
        _written.add(c.data_ptr())
        torch.atan2(u, v, out=c[first:])


def twin(a, b, u, v, c):
    first = a.numel()
    torch.atan2(a, b, out=c[:first])
    torch.atan2(u, v, out=c[first:])
