"""timing.timer_granularity: two calls of some microseconds each are timed by a clock that is off by tens of microseconds.

The candidate is the baseline's own operation. A harness that times so little prints a ratio all the same, and it is noise.
Twin: the same operation in batches of 512 calls.
"""

import dataclasses

import torch

issue = "timing.timer_granularity"
expect = "timing.calibrated_batch"
workload = "sum"
claim = "wall"
gains = False
measure = {"calls": (1, 2), "seconds": 0.2}
sizes = {"cpu": {"n": 32768}, "cuda": {"n": 1024}}


def candidate(a, b, c):
    torch.add(a, b, out=c)


twin = candidate


def _gate(world, calls):
    """The finding may be the workload's fault, so it stops a gate and nothing else."""
    world.quiet()
    world.gate()
    world.cases[:] = [dataclasses.replace(c, measure=dataclasses.replace(c.measure, calls=calls)) for c in world.cases]


def stage(world):
    _gate(world, (1, 2))


def twin_stage(world):
    _gate(world, (64, 512))
