"""memory.swap_interference: the machine swaps while the rounds run.

A page that has to come back makes a call longer by as much as a disk takes, and it is the baseline's or the candidate's by
chance. A harness that does not look reports the difference. Twin: the same kernels on a machine that swaps nothing.
"""

import dataclasses

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


def told(pages):
    """The machine as it is, but for its neighbours, who are quiet, and for the pages that it swaps between two looks."""
    from aisp_runner.state import CpuState

    class Told(CpuState):
        def read(self):
            return dataclasses.replace(super().read(), load=1, steal_ms=0.0, others_busy=0.0, swapped_pages=pages)

    return Told(set)


def gated(world):
    """A gate for code of the repository's own, except where the protections are off: there it would be a mistake."""
    world.cases[:] = [
        dataclasses.replace(c, phase="gate", require="not_slower", candidate=None) if len(c.protections) > 1 else c
        for c in world.cases
    ]


def stage(world):
    """A machine that moves 5,000 pages a round."""
    gated(world)
    world.state = told(PAGES)


def twin_stage(world):
    gated(world)
    world.state = told(0)
