"""environment.driver_version_mismatch: the figures are to be compared with those of another driver.

The workload demands driver 570, on which the other figures were taken, and the machine has 535. A harness that writes the
driver down, and does not hold it against anything, tells the comparison. Twin: a driver of that series.
"""

import dataclasses

from aisp_runner.audit.stage import QUIET_CPU

issue = "environment.driver_version_mismatch"
expect = "environment.pinned_stack"
gains = False


def _on(world, driver):
    world.gate()
    world.cases[:] = [dataclasses.replace(c, demands={"driver": "570"}) for c in world.cases]
    world.tell(QUIET_CPU)
    world.facts = {"gpu": {"name": "NVIDIA H200", "driver": driver}}


def stage(world):
    _on(world, "535.54.03")


def twin_stage(world):
    _on(world, "570.124.06")
