"""environment.thermal_throttling: the machine gets hot and lowers its clocks while the rounds run.

The arms then ran at whatever clock the heat left them, and the figure is of a machine that nobody has; a harness that reads no
state tells it all the same. Twin: the same rounds on a machine that stays cool.
"""

from aisp_runner.audit.stage import QUIET_CPU, QUIET_GPU

issue = "environment.thermal_throttling"
expect = "environment.steady_machine"
gains = False


def stage(world):
    """Hot from the third look on."""
    world.gate()
    cuda = world.device == "cuda"
    hot = {"throttle_reasons": ("sw_thermal_slowdown",)} if cuda else {"thermal_throttles": 2}
    world.tell(QUIET_GPU if cuda else QUIET_CPU, lambda look, ms: hot if look > 2 else {})


def twin_stage(world):
    world.gate()
    world.tell(QUIET_GPU if world.device == "cuda" else QUIET_CPU)
