"""output.stale_cache: computes once for each address and copies the remembered result from then on.

Right as long as the content at an address never changes, as in a harness that makes its inputs once. Twin: remembers a
scratch buffer for each address, not a result.
"""

import torch

issue = "output.stale_cache"
expect = "output.fresh_inputs"

_kept = {}


def candidate(a, b, c):
    key = a.data_ptr()
    if key not in _kept:
        _kept[key] = torch.atan2(a, b)
    c.copy_(_kept[key])


def twin(a, b, c):
    key = a.data_ptr()
    if key not in _kept:
        _kept[key] = torch.empty_like(a)
    torch.atan2(a, b, out=_kept[key])
    c.copy_(_kept[key])
