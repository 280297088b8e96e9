"""workload.kv_cache_size_mismatch: attends to as many cached positions as there were at the first call at an address.

Keys and values are read anew at every call; the length is not, which is right where lengths never change, and saves reading it
and everything beyond it. Twin: reads the length at every call.
"""

import torch

issue = "workload.kv_cache_size_mismatch"
expect = "output.tolerance_bound"
workload = "decode"

_lengths = {}


def _compute(q, k, v, n, c):
    scores = torch.mv(k[:n], q).mul_(q.shape[0] ** -0.5)
    torch.mv(v[:n].T, torch.softmax(scores, 0), out=c)


def candidate(q, k, v, length, c):
    key = length.data_ptr()
    if key not in _lengths:
        _lengths[key] = int(length)
    _compute(q, k, v, _lengths[key], c)


def twin(q, k, v, length, c):
    _compute(q, k, v, int(length), c)
