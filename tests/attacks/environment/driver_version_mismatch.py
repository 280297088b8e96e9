"""environment.driver_version_mismatch: the figures are to be compared with those of another driver.

The workload demands driver 570, on which the other figures were taken, and the machine has 535. A harness that writes the
driver down, and does not hold it against anything, tells the comparison. Twin: a driver of that series.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading

issue = "environment.driver_version_mismatch"
expect = "environment.pinned_stack"
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


def _on(world, driver):
    gated(world)
    world.cases[:] = [dataclasses.replace(c, demands={"driver": "570"}) for c in world.cases]
    world.state = Told(CPU, lambda look, ms: {})
    world.facts = {"gpu": {"name": "NVIDIA H200", "driver": driver}}


def stage(world):
    _on(world, "535.54.03")


def twin_stage(world):
    _on(world, "570.124.06")
