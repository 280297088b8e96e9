"""environment.cpu_governor_mismatch: half of the run's cores scale their clock, the others hold it.

An arm that lands on a core of the first kind is slower for the core. A harness that reads the governor of core 0, or none, does
not see it. Twin: one governor for all.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading

issue = "environment.cpu_governor_mismatch"
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


CPU = CpuReading(clock_mhz=2000, load=1, steal_ms=0.0, others_busy=0.0, thermal_throttles=0)


def gated(world):
    """A gate, except where the protections are off: there it would be a mistake of the settings."""
    world.cases[:] = [
        dataclasses.replace(c, phase="gate", require="not_slower") if len(c.protections) > 1 else c for c in world.cases
    ]


def stage(world):
    gated(world)
    world.state = Told(CPU, lambda look, ms: {"governors": ("performance", "powersave")})


def twin_stage(world):
    gated(world)
    world.state = Told(CPU, lambda look, ms: {"governors": ("performance",)})
