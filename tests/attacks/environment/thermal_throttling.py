"""environment.thermal_throttling: the machine gets hot and lowers its clocks while the rounds run.

The arms then ran at whatever clock the heat left them, and the figure is of a machine that nobody has; a harness that reads no
state tells it all the same. Twin: the same rounds on a machine that stays cool.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading, GpuReading

issue = "environment.thermal_throttling"
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
GPU = GpuReading(1500, 2619, 300.0, 60, (), 0, 700.0)


def gated(world):
    """A gate, except where the protections are off: there it would be a mistake of the settings."""
    world.cases[:] = [
        dataclasses.replace(c, phase="gate", require="not_slower") if len(c.protections) > 1 else c for c in world.cases
    ]


def stage(world):
    """Hot from the third look on."""
    gated(world)
    cuda = world.device == "cuda"
    hot = {"throttle_reasons": ("sw_thermal_slowdown",)} if cuda else {"thermal_throttles": 2}
    world.state = Told(GPU if cuda else CPU, lambda look, ms: hot if look > 2 else {})


def twin_stage(world):
    gated(world)
    world.state = Told(GPU if world.device == "cuda" else CPU, lambda look, ms: {})
