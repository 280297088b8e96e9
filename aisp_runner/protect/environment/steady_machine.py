"""The machine was the same for both arms: no clock lowered for heat or by the power supply, none raised for one arm alone.

What disturbs both arms alike in a few rounds is left to their interleaving; here is looked at what lasted. A finding may be
the machine's fault, so it is `unavailable`: INCONCLUSIVE in a gate. A power cap by software is recorded and is no finding: a
kernel that draws more power runs at a lower clock on every call. Blind spot: a clock that moves within a batch and is back at
its end; a GPU whose state NVML does not tell; the CPU's own clock for each arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge

HELD_BACK = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
"""Of machine.THROTTLE_REASONS, those that are an accident of the machine."""


@dataclass(frozen=True)
class SteadyMachine(Protection):
    id = "environment.steady_machine"
    covers = (
        "environment.thermal_throttling",
        "environment.power_limit_difference",
        "environment.frequency_boost",
        "environment.cpu_governor_mismatch",
    )

    held_back: float = 0.25
    """Share of the looks, once a round, at which the clocks may be held back by heat or the power supply."""
    clocks: float = 0.01
    """How far the candidate's clock may lie above the baseline's, or above the one that was demanded, as a fraction."""

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        odd = [*self._throttled(judge.readings), *_changed(judge.readings), *self._boosted(judge), *self._above(judge)]
        if odd:
            return [self.unavailable("conclude", why) for why in odd]
        observed = f"clocks, power limit and governors were steady in {len(judge.readings)} readings"
        return [self.found("conclude", True, observed, f"held back in {self.held_back:.0%} of them")]

    def _throttled(self, readings: Sequence[Any]) -> list[str]:
        gpu = [names for r in readings if (names := getattr(r, "throttle_reasons", None)) is not None]
        cpu = [count for r in readings if (count := getattr(r, "thermal_throttles", None)) is not None]
        found = []
        held = [set(names) & set(HELD_BACK) for names in gpu]
        if sum(map(bool, held)) > self.held_back * len(gpu):
            names = ", ".join(sorted(set().union(*held)))
            found.append(f"the GPU's clocks were held back at {sum(map(bool, held))} of {len(gpu)} looks: {names}")
        hot = sum(count > 0 for count in cpu)
        if hot > self.held_back * len(cpu):
            found.append(f"a CPU package lowered its clock for heat {sum(cpu)} times, in {hot} of {len(cpu)} rounds")
        return found

    def _boosted(self, judge: Judge) -> list[str]:
        """Rounds at unequal clocks are dropped as often as rounds may be; those that count are looked at here."""
        rounds: dict[tuple[int, int], dict[str, list[int]]] = {}
        purpose = judge.measured.purpose if judge.measured else "round"
        for batch in judge.batches:
            if batch.purpose == purpose and batch.calls and batch.clock_mhz is not None:
                rounds.setdefault((batch.process, batch.round), {}).setdefault(batch.arm, []).append(batch.clock_mhz)
        ratios = [_ratio(arms) for arms in rounds.values() if {"baseline", "candidate"} <= arms.keys()]
        faster = sum(ratio > 1 + self.clocks for ratio in ratios)
        dropped = judge.measured.dropped if judge.measured else 0
        if not ratios or faster <= max(dropped, len(ratios) // 2):
            return []
        typical = sorted(ratios)[len(ratios) // 2]
        return [f"in {faster} of {len(ratios)} rounds the device ran faster for the candidate, typically by {typical - 1:.1%}"]

    def _above(self, judge: Judge) -> list[str]:
        found = []
        for demand, keys in (("clock_mhz", ("sm_clock_mhz", "clock_mhz")), ("power_limit_w", ("power_limit_w",))):
            limit = judge.case.demands.get(demand)
            seen = [v for r in judge.readings for key in keys if (v := getattr(r, key, None)) is not None]
            if limit is not None and seen and max(seen) > (1 + self.clocks) * limit:
                found.append(f"{demand} was {max(seen):g}, and the workload demands at most {limit:g} (environment.require)")
        return found


def _changed(readings: Sequence[Any]) -> list[str]:
    """Settings of the machine that somebody changed during the rounds, or that differ from core to core."""
    found = []
    limits = {watts for r in readings if (watts := getattr(r, "power_limit_w", None)) is not None}
    if len(limits) > 1:
        found.append(f"the GPU's power limit changed during the rounds: {', '.join(f'{w:g} W' for w in sorted(limits))}")
    governors = {names for r in readings if (names := getattr(r, "governors", None)) is not None}
    names = sorted({name for each in governors for name in each})
    if len(names) > 1:
        found.append(f"the run's cores had different frequency governors: {', '.join(names)}")
    return found


def _ratio(arms: dict[str, list[int]]) -> float:
    """The candidate's median clock over the baseline's."""
    from aisp_runner.statistics import median

    return median(list(map(float, arms["candidate"]))) / median(list(map(float, arms["baseline"])))
