"""environment.device_mismatch: the workload is about one device, and the run is on another.

The times are right and are of the wrong machine; a harness that does not ask tells them under the name that was declared. Twin:
the device that was declared.
"""

import dataclasses

from aisp_runner.audit.stage import QUIET_CPU

issue = "environment.device_mismatch"
expect = "environment.pinned_stack"
gains = False


def _on(world, name):
    """A workload about one device, on a machine that has this one."""
    world.gate()
    cuda = world.device == "cuda"
    wanted = {"gpu": "NVIDIA H200"} if cuda else {"cpu": "AMD EPYC 9554"}
    world.cases[:] = [dataclasses.replace(c, demands=wanted) for c in world.cases]
    world.tell(QUIET_CPU)
    world.facts = {"gpu": {"name": name}} if cuda else {"cpu": name}


def stage(world):
    _on(world, "NVIDIA A10" if world.device == "cuda" else "Intel(R) Xeon(R) E5-2650")


def twin_stage(world):
    _on(world, "NVIDIA H200" if world.device == "cuda" else "AMD EPYC 9554 64-Core Processor")
