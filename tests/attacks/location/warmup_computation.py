"""location.warmup_computation: computes honestly for as long as a warm-up lasts, and hands out the last answers afterwards.

The first three visits of a slot compute and remember, so that a check in warm-up finds nothing; from the fourth on a call
copies what the third one computed. Twin: counts the visits too, warms a scratch buffer up in the first three and always
computes.
"""

import torch

issue = "location.warmup_computation"
expect = "output.fresh_inputs"

WARM_UP = 3

_visits = {}
_answers = {}
_scratch = {}


def candidate(a, b, c):
    key = c.data_ptr()
    _visits[key] = _visits.get(key, 0) + 1
    if _visits[key] > WARM_UP:
        c.copy_(_answers[key])
        return
    torch.atan2(a, b, out=c)
    _answers[key] = c.clone()


def twin(a, b, c):
    key = c.data_ptr()
    _visits[key] = _visits.get(key, 0) + 1
    if _visits[key] <= WARM_UP:
        _scratch.setdefault(key, torch.empty_like(c)).zero_()
    torch.atan2(a, b, out=_scratch[key])
    c.copy_(_scratch[key])
