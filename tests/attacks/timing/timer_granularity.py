"""timing.timer_granularity: two calls of some microseconds each are timed by a clock that is off by tens of microseconds.

The candidate is the baseline's own operation. A harness that times so little prints a ratio all the same, and it is noise.
Twin: the same operation in batches of 512 calls.
"""

import dataclasses

import torch

from aisp_runner.state import CpuReading

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


class _Quiet:
    """The machine as it is told to be: nobody else is busy, so that this alone decides."""

    def __init__(self):
        self.missing = {}

    def read(self):
        return CpuReading(clock_mhz=2000, load=1, steal_ms=0.0, others_busy=0.0, thermal_throttles=0)

    def close(self):
        """Nothing is open."""


def _gate(world, calls):
    """The finding may be the workload's fault, so it stops a gate and nothing else. An unprotected case cannot gate."""
    if world.device == "cpu":
        world.state = _Quiet()
    world.cases[:] = [
        dataclasses.replace(
            c,
            candidate=None,
            phase="gate" if expect in c.protections else c.phase,
            require="not_slower",
            measure=dataclasses.replace(c.measure, calls=calls),
        )
        for c in world.cases
    ]


def stage(world):
    _gate(world, (1, 2))


def twin_stage(world):
    _gate(world, (64, 512))
