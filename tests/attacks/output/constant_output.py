"""output.constant_output: computes the answer to the first input it sees and gives that one whatever comes next.

Right in a harness that calls it with the same input throughout. Twin: keeps a buffer from the first call and computes into it
each time.
"""

import torch

issue = "output.constant_output"
expect = "output.fresh_inputs"
unprotected = "naive"

_kept = []


def candidate(a, b, c):
    if not _kept:
        _kept.append(torch.atan2(a, b))
    c.copy_(_kept[0])


def twin(a, b, c):
    if not _kept:
        _kept.append(torch.empty_like(a))
    c.copy_(torch.atan2(a, b, out=_kept[0]))
