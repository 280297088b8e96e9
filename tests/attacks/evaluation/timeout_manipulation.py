"""evaluation.timeout_manipulation: the limit of a batch is raised while the case runs, to hide a call that takes too long.

The plan that was written down allows a batch one second. Once measuring begins, the plan in the runner's memory allows a
minute, and the candidate's slow call passes for an answer in time; the file on the disk still says one second. Twin: the same
limit, and no slow call.
"""

import dataclasses
import time

import torch

issue = "evaluation.timeout_manipulation"
expect = "evaluation.frozen_plan"
gains = False
devices = "cpu"
because = "it is staged where the CPU's state is read, once a round; on a GPU other readings are due there"

_calls = {"seen": 0}


def candidate(a, b, c):
    _calls["seen"] += 1
    if _calls["seen"] == 640:  # warming up takes 145 to 433 calls, and measuring at least 672
        time.sleep(1.5)
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    torch.atan2(a, b, out=c)


def _limited(world, later_seconds):
    from aisp_runner.state import CpuState

    for number, case in enumerate(world.cases):
        limits = dataclasses.replace(case.limits, batch_seconds=1.0)
        world.cases[number] = dataclasses.replace(case, limits=limits)

    class Raised(CpuState):
        def read(self):
            for case in world.cases:
                object.__setattr__(case.limits, "batch_seconds", later_seconds)
            return super().read()

    world.state = Raised(set)


def stage(world):
    _limited(world, 60.0)


def twin_stage(world):
    _limited(world, 1.0)
