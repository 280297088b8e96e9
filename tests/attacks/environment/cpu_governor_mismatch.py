"""environment.cpu_governor_mismatch: half of the run's cores scale their clock, the others hold it.

An arm that lands on a core of the first kind is slower for the core. A harness that reads the governor of core 0, or none, does
not see it. Twin: one governor for all.
"""

from aisp_runner.audit.stage import QUIET_CPU

issue = "environment.cpu_governor_mismatch"
expect = "environment.steady_machine"
gains = False


def stage(world):
    world.gate()
    world.tell(QUIET_CPU, lambda look, ms: {"governors": ("performance", "powersave")})


def twin_stage(world):
    world.gate()
    world.tell(QUIET_CPU, lambda look, ms: {"governors": ("performance",)})
