"""workload.batch_shrinking: all rows of the batch the first time, half of them from then on.

The other half still holds the answer of an earlier call, which is right where the content at an address never changes. Twin:
takes the batch in two halves.
"""

import torch

issue = "workload.batch_shrinking"
expect = "output.poisoned_outputs"
workload = "rows"

_done = set()


def candidate(x, c):
    half = x.shape[0] // 2
    torch.softmax(x[:half], 1, out=c[:half])
    if c.data_ptr() not in _done:
        torch.softmax(x[half:], 1, out=c[half:])
        _done.add(c.data_ptr())


def twin(x, c):
    half = x.shape[0] // 2
    torch.softmax(x[:half], 1, out=c[:half])
    torch.softmax(x[half:], 1, out=c[half:])
