"""workload.early_exit: all 28 fixed-point steps once, and a quarter of them from then on.

The seven steps start from the solution that was found at the same address before, so they end at the right place where the
content at an address never changes. Twin: starts from the content itself, and stops when a step no longer moves anything.
"""

import torch

issue = "workload.early_exit"
expect = "output.tolerance_bound"
workload = "kepler"

STEPS = 28

_solved = {}


def candidate(m, c):
    key = m.data_ptr()
    steps = STEPS // 4 if key in _solved else STEPS
    c.copy_(_solved.get(key, m))
    for _ in range(steps):
        torch.add(m, torch.sin(c), alpha=0.5, out=c)
    _solved[key] = c.clone()


def twin(m, c):
    now, after = m.clone(), torch.empty_like(m)
    for _ in range(STEPS):
        torch.add(m, torch.sin(now), alpha=0.5, out=after)
        if (after - now).abs().max() < 1e-7:
            break
        now, after = after, now
    c.copy_(after)
