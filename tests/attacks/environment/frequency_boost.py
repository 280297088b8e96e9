"""environment.frequency_boost: the device's clock is raised for the candidate's batches.

It runs at 1,980 MHz where the baseline ran at 1,500, in every round, so rounds at unequal clocks cannot be left out. A harness
that does not read the clock beside each batch takes the boost for the kernel's. Twin: the same clock for both.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading

issue = "environment.frequency_boost"
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


def _at(clocks):
    """What the judge would have read after each timed batch."""

    def told(rounds, batches):
        for batch in batches:
            batch.clock_mhz = clocks.get(batch.arm) if batch.timed and batch.calls else None
        return rounds, batches

    return told


def stage(world):
    gated(world)
    world.state = Told(CPU, lambda look, ms: {})
    world.sample = _at({"baseline": 1500, "candidate": 1980})


def twin_stage(world):
    gated(world)
    world.state = Told(CPU, lambda look, ms: {})
    world.sample = _at({"baseline": 1500, "candidate": 1500})
