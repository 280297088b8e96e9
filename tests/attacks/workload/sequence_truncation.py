"""workload.sequence_truncation: scans the whole sequences once, and an eighth of each from then on.

What the rest adds to that eighth's sum is kept for each address and written again, so the outputs look whole, and are right
where the content at an address never changes. Twin: scans an eighth, keeps its sum, and scans the rest too.
"""

import torch

issue = "workload.sequence_truncation"
expect = "output.tolerance_bound"
workload = "scan"

_rest = {}


def candidate(x, c):
    key, cut = x.data_ptr(), x.shape[1] // 8
    torch.cumsum(x[:, :cut], 1, out=c[:, :cut])
    if key not in _rest:
        _rest[key] = torch.cumsum(x[:, cut:], 1)
    torch.add(_rest[key], c[:, cut - 1 : cut], out=c[:, cut:])


def twin(x, c):
    cut = x.shape[1] // 8
    torch.cumsum(x[:, :cut], 1, out=c[:, :cut])
    torch.add(torch.cumsum(x[:, cut:], 1), c[:, cut - 1 : cut], out=c[:, cut:])
