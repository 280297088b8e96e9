"""workload.attention_mask_mismatch: attends to the keys that the first mask at an address let through.

Queries, keys and values are read anew at every call; the mask is not, which is right where masks never change. Few keys are
let through, so the products are small. Twin: looks the mask up at every call.
"""

import torch

issue = "workload.attention_mask_mismatch"
expect = "output.tolerance_bound"
workload = "attention"
sizes = {"cuda": {"queries": 512, "keys": 16384, "dim": 64}}

_attended = {}


def _compute(q, k, v, attended, c):
    scores = torch.matmul(q, k[attended].T).mul_(q.shape[1] ** -0.5)
    torch.matmul(torch.softmax(scores, 1), v[attended], out=c)


def candidate(q, k, v, m, c):
    key = m.data_ptr()
    if key not in _attended:
        _attended[key] = torch.nonzero(m == 0).flatten()
    _compute(q, k, v, _attended[key], c)


def twin(q, k, v, m, c):
    _compute(q, k, v, torch.nonzero(m == 0).flatten(), c)
