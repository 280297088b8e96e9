"""memory.swap_interference: the machine swaps while the rounds run.

A page that has to come back makes a call longer by as much as a disk takes, and it is the baseline's or the candidate's by
chance. A harness that does not look reports the difference. Twin: the same kernels on a machine that swaps nothing.
"""

import torch

issue = "memory.swap_interference"
expect = "memory.no_swapping"
gains = False
devices = "cpu"
because = "the memory of a GPU is not swapped, so its reading does not tell"

PAGES = 5000


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def _swapping(world, pages):
    from aisp_runner.audit.stage import QUIET_CPU

    world.gate()
    world.tell(QUIET_CPU, lambda look, passed_ms: {"swapped_pages": pages})


def stage(world):
    """A machine that moves 5,000 pages a round."""
    _swapping(world, PAGES)


def twin_stage(world):
    _swapping(world, 0)
