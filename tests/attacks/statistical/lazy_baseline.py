"""statistical.cold_start_inclusion: a baseline that sets itself up during its first twenty calls.

A harness that warms up for two calls times the set-up of most of what it calls the baseline. The candidate is the same code
without it. Here every slot has been visited and two batches in a row have agreed before a time counts. Twin: the baseline's
own code as the candidate.
"""

import torch

issue = "statistical.cold_start_inclusion"
expect = "processes"
unprotected = "naive"

COLD_CALLS = 20

_calls = {"baseline": 0, "twin": 0}


def _lazy(which, a, b, c):
    _calls[which] += 1
    for _ in range(4 if _calls[which] <= COLD_CALLS else 1):
        torch.atan2(a, b, out=c)


def baseline(a, b, c):
    _lazy("baseline", a, b, c)


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _lazy("twin", a, b, c)
