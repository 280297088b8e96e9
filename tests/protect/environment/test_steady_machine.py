"""What lasted over the rounds is told as a condition of the machine; what came and went is not."""

from __future__ import annotations

from typing import Any

import pytest

from aisp_runner.protect.environment.steady_machine import SteadyMachine
from aisp_runner.state import GpuReading
from protect.batches import batch
from protect.environment.hosts import judge_of, reading

GPU = GpuReading(1500, 2619, 300.0, 60, (), 0, 700.0)


def gpu(**changes: Any) -> GpuReading:
    fields = {name: getattr(GPU, name) for name in GPU.__dataclass_fields__}
    return GpuReading(**(fields | changes))


def told(**changes: Any) -> list[str]:
    """What was found; empty where the evidence is a pass."""
    found = SteadyMachine().judge_conclude(judge_of(**changes))
    assert {e.status for e in found} in ({"pass"}, {"unavailable"})
    return [e.observed for e in found if e.status == "unavailable"]


@pytest.mark.parametrize(
    ("readings", "text"),
    [
        pytest.param([gpu()] * 4, "", id="steady"),
        pytest.param([gpu(throttle_reasons=("sw_power_cap", "gpu_idle"))] * 4, "", id="a power cap is part of the answer"),
        pytest.param([gpu()] * 3 + [gpu(throttle_reasons=("hw_slowdown",))], "", id="once in four"),
        pytest.param(
            [gpu()] * 2 + [gpu(throttle_reasons=("hw_thermal_slowdown",))] * 2,
            "the GPU's clocks were held back at 2 of 4 looks: hw_thermal_slowdown",
            id="hot",
        ),
        pytest.param(
            [gpu()] * 2 + [gpu(power_limit_w=450.0)], "power limit changed during the rounds: 450 W, 700 W", id="limit"
        ),
        pytest.param([gpu(power_limit_w=None)] * 3 + [gpu()], "", id="a limit that was not read"),
        pytest.param([reading(thermal_throttles=0)] * 4, "", id="a cool CPU"),
        pytest.param(
            [reading(thermal_throttles=2)] * 3 + [reading()],
            "a CPU package lowered its clock for heat 6 times, in 3 of 4 rounds",
            id="a hot CPU",
        ),
        pytest.param([reading(thermal_throttles=None)] * 4, "", id="heat that was not read"),
        pytest.param([reading(governors=("performance",))] * 4, "", id="one governor"),
        pytest.param([reading(governors=("performance", "powersave"))] * 4, "governors: performance, powersave", id="two"),
        pytest.param(
            [reading(governors=("performance",)), reading(governors=("powersave",))],
            "governors: performance, powersave",
            id="changed",
        ),
        pytest.param([], "", id="no reading"),
    ],
)
def test_what_lasted_is_told(readings: list[Any], text: str) -> None:
    found = told(readings=readings)
    assert (len(found) == 1 and text in found[0]) if text else found == []


def rounds_at(*clocks: tuple[int | None, int | None]) -> list[Any]:
    """Rounds at (baseline, candidate) clocks."""
    return [
        batch(arm, number=number, clock_mhz=mhz)
        for number, pair in enumerate(clocks)
        for arm, mhz in zip(("baseline", "candidate"), pair, strict=True)
    ]


@pytest.mark.parametrize(
    ("clocks", "dropped", "found"),
    [
        pytest.param([(1500, 1505)] * 4, 0, False, id="equal"),
        pytest.param([(1500, 1980)] * 4, 0, True, id="boosted"),
        pytest.param([(1500, 1980)] * 4, 4, False, id="no more rounds than were dropped"),
        pytest.param([(1980, 1500)] * 4, 0, False, id="a candidate that draws more power is slower"),
        pytest.param([(1500, 1980)] + [(1500, 1500)] * 3, 0, False, id="one round of four"),
        pytest.param([(None, None)] * 4, 0, False, id="not read"),
    ],
)
def test_a_clock_that_is_higher_for_the_candidate_in_most_rounds_is_told(clocks: list[Any], dropped: int, found: bool) -> None:
    judge = judge_of(batches=rounds_at(*clocks))
    judge.measured.dropped = dropped
    evidence = SteadyMachine().judge_conclude(judge)
    assert ({e.status for e in evidence} == {"unavailable"}) is found
    if found:
        assert evidence[0].observed == "in 4 of 4 rounds the device ran faster for the candidate, typically by 32.0%"


@pytest.mark.parametrize(("limit", "found"), [(2000, False), (1990, False), (1500, True)])
def test_a_clock_above_the_one_that_was_demanded_is_told(limit: int, found: bool) -> None:
    judge = judge_of(readings=[reading()])
    judge.case.demands = {"clock_mhz": limit}
    assert (SteadyMachine().judge_conclude(judge)[0].status == "unavailable") is found
