"""environment.virtualization_overhead: the hypervisor gives the run's cores to other guests while the rounds run.

For a third of the time the run stands still without knowing, and its clock goes on. A harness that does not read the steal time
takes it for work. Twin: a virtual machine too, whose cores it gets.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading

issue = "environment.virtualization_overhead"
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
    world.facts = {"hypervisor": True}
    world.state = Told(CPU, lambda look, ms: {"steal_ms": ms / 3})


def twin_stage(world):
    gated(world)
    world.facts = {"hypervisor": True}
    world.state = Told(CPU, lambda look, ms: {"steal_ms": 0.0})
