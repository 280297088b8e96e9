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


def _gated(world, rounds):
    """A gate that asks for a speed-up."""
    world.quiet()
    world.gate()
    least = min(rounds, 6)
    world.cases[:] = [
        dataclasses.replace(c, measure=dataclasses.replace(c.measure, rounds=rounds, min_rounds=least)) for c in world.cases
    ]


def stage(world):
    _gated(world, 1)


def twin_stage(world):
    _gated(world, 8)
