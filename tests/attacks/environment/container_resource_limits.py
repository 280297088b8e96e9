"""environment.container_resource_limits: the container's CPU quota bites while the rounds run.

For two fifths of the time the whole run is kept from its cores. Which batch that hits is chance, and the figure holds for no
other container. A harness that does not read cpu.stat tells it. Twin: the same quota, never reached.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading

issue = "environment.container_resource_limits"
expect = "environment.host_limits"
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
    world.facts = {"cpu_quota_cores": 1.0}
    world.state = Told(CPU, lambda look, ms: {"throttled_ms": 0.4 * ms})


def twin_stage(world):
    gated(world)
    world.facts = {"cpu_quota_cores": 1.0}
    world.state = Told(CPU, lambda look, ms: {"throttled_ms": 0.0})
