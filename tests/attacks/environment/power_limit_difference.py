"""environment.power_limit_difference: the GPU's power limit is changed between two rounds.

What was measured before was another machine, and a record that tells one power limit does not show it. Twin: one limit.
"""

from aisp_runner.audit.stage import QUIET_GPU

issue = "environment.power_limit_difference"
expect = "environment.steady_machine"
gains = False


def stage(world):
    world.gate()
    world.tell(QUIET_GPU, lambda look, ms: {"power_limit_w": 700.0 if look < 4 else 450.0})


def twin_stage(world):
    world.gate()
    world.tell(QUIET_GPU, lambda look, ms: {"power_limit_w": 700.0})
