"""evaluation.missing_holdout_sets: code from outside is let through a gate by a workload that has no held-out case.

Nothing is wrong with the candidate where it is measured; whether its gain is there at any other size, nobody has asked. A
gate that says yes here says it of every candidate that knows the one size. Twin: the same candidate, on a workload with a
held-out size.
"""

import dataclasses

import torch

issue = "evaluation.missing_holdout_sets"
expect = "workload.held_out"
workload = "angles"
held_out = True
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


def _gated(cases):
    """Of code from outside, and gates where they may be: not without the essential protections."""
    outside = [dataclasses.replace(c, candidate="theirs.py::fast") for c in cases]
    return [dataclasses.replace(c, phase="gate") if "statistical.whole_sample" in c.protections else c for c in outside]


def stage(world):
    world.cases[:] = _gated([c for c in world.cases if not c.held_out])
    _quiet(world)


def twin_stage(world):
    world.cases[:] = _gated(world.cases)
    _quiet(world)
