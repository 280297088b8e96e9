"""environment.power_limit_difference: the GPU's power limit is changed between two rounds.

What was measured before was another machine, and a record that tells one power limit does not show it. Twin: one limit.
"""

import dataclasses
import time

from aisp_runner.state import GpuReading

issue = "environment.power_limit_difference"
expect = "environment.steady_machine"
gains = False


class Told:
    """The machine as it is told to be: quiet and steady, but for what `odd` says at each look."""

    def __init__(self, kind, odd):
        self.missing = {}
        self.kind, self.odd, self.looks, self.before = kind, odd, 0, time.perf_counter()

    def read(self):
        passed_ms, self.before = (time.perf_counter() - self.before) * 1e3, time.perf_counter()
        self.looks += 1
        return dataclasses.replace(self.kind, **self.odd(self.looks, passed_ms))

    def clock_mhz(self):
        return None

    def close(self):
        """Nothing is open."""


GPU = GpuReading(1500, 2619, 300.0, 60, (), 0, 700.0)


def gated(world):
    """A gate, except where the protections are off: there it would be a mistake of the settings."""
    world.cases[:] = [
        dataclasses.replace(c, phase="gate", require="not_slower") if len(c.protections) > 1 else c for c in world.cases
    ]


def stage(world):
    gated(world)
    world.state = Told(GPU, lambda look, ms: {"power_limit_w": 700.0 if look < 4 else 450.0})


def twin_stage(world):
    gated(world)
    world.state = Told(GPU, lambda look, ms: {"power_limit_w": 700.0})
