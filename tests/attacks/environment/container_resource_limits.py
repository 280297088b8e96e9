"""environment.container_resource_limits: the container's CPU quota bites while the rounds run.

For two fifths of the time the whole run is kept from its cores. Which batch that hits is chance, and the figure holds for no
other container. A harness that does not read cpu.stat tells it. Twin: the same quota, never reached.
"""

from aisp_runner.audit.stage import QUIET_CPU

issue = "environment.container_resource_limits"
expect = "environment.host_limits"
gains = False


def stage(world):
    world.gate()
    world.facts = {"cpu_quota_cores": 1.0}
    world.tell(QUIET_CPU, lambda look, ms: {"throttled_ms": 0.4 * ms})


def twin_stage(world):
    world.gate()
    world.facts = {"cpu_quota_cores": 1.0}
    world.tell(QUIET_CPU, lambda look, ms: {"throttled_ms": 0.0})
