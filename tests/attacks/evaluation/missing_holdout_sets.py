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


def twin_stage(world):
    """Code from outside, at a gate."""
    world.quiet()
    world.gate(require="valid")
    world.cases[:] = [dataclasses.replace(c, candidate="theirs.py::fast") for c in world.cases]


def stage(world):
    twin_stage(world)
    world.cases[:] = [c for c in world.cases if not c.held_out]
