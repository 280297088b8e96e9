"""environment.virtualization_overhead: the hypervisor gives the run's cores to other guests while the rounds run.

For a third of the time the run stands still without knowing, and its clock goes on. A harness that does not read the steal time
takes it for work. Twin: a virtual machine too, whose cores it gets.
"""

from aisp_runner.audit.stage import QUIET_CPU

issue = "environment.virtualization_overhead"
expect = "environment.host_limits"
gains = False


def stage(world):
    world.gate()
    world.facts = {"hypervisor": True}
    world.tell(QUIET_CPU, lambda look, ms: {"steal_ms": ms / 3})


def twin_stage(world):
    world.gate()
    world.facts = {"hypervisor": True}
    world.tell(QUIET_CPU, lambda look, ms: {"steal_ms": 0.0})
