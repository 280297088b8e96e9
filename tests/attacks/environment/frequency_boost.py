"""environment.frequency_boost: the device's clock is raised for the candidate's batches.

It runs at 1,980 MHz where the baseline ran at 1,500, in every round, so rounds at unequal clocks cannot be left out. A harness
that does not read the clock beside each batch takes the boost for the kernel's. Twin: the same clock for both.
"""

from aisp_runner.audit.stage import QUIET_CPU

issue = "environment.frequency_boost"
expect = "environment.steady_machine"
gains = False


def _at(clocks):
    """What the judge would have read after each timed batch."""

    def told(rounds, batches):
        for batch in batches:
            batch.clock_mhz = clocks.get(batch.arm) if batch.timed and batch.calls else None
        return rounds, batches

    return told


def stage(world):
    world.gate()
    world.tell(QUIET_CPU)
    world.sample = _at({"baseline": 1500, "candidate": 1980})


def twin_stage(world):
    world.gate()
    world.tell(QUIET_CPU)
    world.sample = _at({"baseline": 1500, "candidate": 1500})
