"""environment.device_mismatch: the workload is about one device, and the run is on another.

The times are right and are of the wrong machine; a harness that does not ask tells them under the name that was declared. Twin:
the device that was declared.
"""

import dataclasses
import time

from aisp_runner.state import CpuReading

issue = "environment.device_mismatch"
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


def _on(world, name):
    """A workload about one device, on a machine that has this one."""
    gated(world)
    cuda = world.device == "cuda"
    wanted = {"gpu": "NVIDIA H200"} if cuda else {"cpu": "AMD EPYC 9554"}
    world.cases[:] = [dataclasses.replace(c, demands=wanted) for c in world.cases]
    world.state = Told(CPU, lambda look, ms: {})
    world.facts = {"gpu": {"name": name}} if cuda else {"cpu": name}


def stage(world):
    _on(world, "NVIDIA A10" if world.device == "cuda" else "Intel(R) Xeon(R) E5-2650")


def twin_stage(world):
    _on(world, "NVIDIA H200" if world.device == "cuda" else "AMD EPYC 9554 64-Core Processor")
