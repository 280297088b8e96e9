"""statistical.insufficient_samples: a plan that asks for one round.

Two pairs of neighbouring batches give a speed-up, and even an interval: the lower of the two and the higher one, which hold
the true value half of the time. Read as what it claims to be, it decides for or against code by chance. Twin: the same code
with six rounds.
"""

import dataclasses

import torch

issue = "statistical.insufficient_samples"
expect = "statistical.enough_rounds"
gains = False


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def _quiet(world):
    """Told that nobody else is on the machine: a busy one would make either gate INCONCLUSIVE."""
    from aisp_runner.state import CpuState

    class Quiet(CpuState):
        def read(self):
            return dataclasses.replace(super().read(), others_busy=0.0)

    if world.device == "cpu":
        world.state = Quiet(set)


def _gated(world, rounds):
    """A gate that asks for a speed-up, where one may be: not without the essential protections."""
    for number, case in enumerate(world.cases):
        measure = dataclasses.replace(case.measure, rounds=rounds, min_rounds=min(rounds, 6))
        phase = "gate" if "statistical.whole_sample" in case.protections else case.phase
        world.cases[number] = dataclasses.replace(case, measure=measure, phase=phase, require="not_slower")
    _quiet(world)


def stage(world):
    _gated(world, 1)


def twin_stage(world):
    _gated(world, 8)
