"""environment.priority_elevation: the candidate makes itself more urgent than the baseline.

On a busy machine it gets the core where the baseline waits, so that the two times are of different shares of a core; a harness
that runs both as they ask to be run sees two right answers. Where it has no right to, it takes the judge's core besides its
own. Twin: looks at its preference and leaves it.
"""

import os

import torch

issue = "environment.priority_elevation"
expect = "environment.host_placement"
gains = False
devices = "cpu"
because = "where the user may not raise a priority it falls back to more cores, which are held apart on a CPU alone"


def candidate(a, b, c):
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except PermissionError:
        os.sched_setaffinity(0, range(os.cpu_count()))
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    torch.atan2(a, b, out=c)
