"""memory.input_output_aliasing: overwrites a weight with what it needs of it, on its first call.

From then on the weight is its own result, and nobody else who is given the same memory finds the weight there. Outputs are
right on every call, so that comparing them finds nothing. Twin: computes the same into a buffer of its own on every call.
"""

import torch

issue = "memory.input_output_aliasing"
expect = "memory.inputs_unchanged"
workload = "scaled"

_done = set()
_kept = {}


def candidate(x, w, c):
    if w.data_ptr() not in _done:
        _done.add(w.data_ptr())
        w.tanh_()
    torch.mul(x, w, out=c)


def twin(x, w, c):
    if w.data_ptr() not in _kept:
        _kept[w.data_ptr()] = torch.empty_like(w)
    torch.mul(x, torch.tanh(w, out=_kept[w.data_ptr()]), out=c)
