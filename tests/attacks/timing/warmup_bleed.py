"""timing.warmup_bleed: the work is done in the throwaway batches of warm-up, and the timed ones live on it.

33 operations are run for each slot the first time it is seen, while nobody times it, and their result is kept beside the
slot's address; from then on a call is a copy. Right in a harness that warms up on the content that it times. Twin: warms up a
scratch buffer for each slot, which holds nothing of the answer.
"""

import torch

issue = "timing.warmup_bleed"
expect = "output.fresh_inputs"
workload = "steps"
sizes = {"cpu": {"n": 8192}, "cuda": {"n": 65536}}

STEPS = 16

_slots = {}


def _compute(a, b, c):
    torch.add(a, b, out=c)
    for _ in range(STEPS):
        torch.sin(c, out=c)
        c.add_(b)


def candidate(a, b, c):
    if c.data_ptr() not in _slots:
        _compute(a, b, c)
        _slots[c.data_ptr()] = c.clone()
    else:
        c.copy_(_slots[c.data_ptr()])


def twin(a, b, c):
    scratch = _slots.setdefault(c.data_ptr(), torch.empty_like(c))
    _compute(a, b, scratch)
    c.copy_(scratch)
