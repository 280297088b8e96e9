"""workload.sparsity_mismatch: computes with the sparsity pattern that it saw first at an address.

Values are read anew at every call, but only where the first pattern had some, and all else is zero: right where patterns never
change. Twin: looks the pattern up at every call.
"""

import torch

issue = "workload.sparsity_mismatch"
expect = "output.tolerance_bound"
workload = "masked"

_wanted = {}


def _compute(a, b, wanted, c):
    c.zero_()
    c[wanted] = torch.atan2(a[wanted], b[wanted])


def candidate(a, b, m, c):
    key = m.data_ptr()
    if key not in _wanted:
        _wanted[key] = torch.nonzero(m == 0).flatten()
    _compute(a, b, _wanted[key], c)


def twin(a, b, m, c):
    _compute(a, b, torch.nonzero(m == 0).flatten(), c)
