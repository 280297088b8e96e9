"""How many sets of processes would decide: held against runs that are drawn with as many."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from aisp_runner import undecided, verdict
from aisp_runner.intervals import POWER, mean_interval, reach, student

MARGIN = 0.01


def interval(value: float, deviation: float, sets: int) -> dict[str, Any]:
    """The interval of a record whose sets of processes differ by so much."""
    half = student(0.975, sets - 1) * deviation / math.sqrt(sets)
    return {"value": value, "low": value * math.exp(-half), "high": value * math.exp(half), "confidence": 0.95}


def speedup(value: float, deviation: float, sets: int) -> dict[str, Any]:
    return interval(value, deviation, sets) | {"margin": MARGIN, "processes": sets}


def test_one_set_of_processes_does_not_know() -> None:
    told = {"value": 1.02, "low": 1.0, "high": 1.04, "confidence": 0.875, "margin": MARGIN, "processes": 1}
    assert undecided.needed(told, None) is None


def test_the_deviation_between_sets_comes_back_out_of_the_interval() -> None:
    assert undecided.deviation(interval(1.5, 0.013, 5), 5) == pytest.approx(0.013)


@pytest.mark.parametrize("sets", [3, 5, 10])
def test_a_repetition_finds_the_minimum_detectable_effect_as_often_as_it_says(sets: int) -> None:
    """Against the limit instead of 1, this is what `reach` is made for."""
    deviation = 0.004
    value = (1 + MARGIN) * math.exp(reach(sets - 1) * deviation / math.sqrt(sets))
    assert undecided.chances(speedup(value, deviation, sets), None, sets)["FASTER"] == pytest.approx(POWER, abs=0.02)


@pytest.mark.parametrize(("value", "outcome"), [(1.022, "FASTER"), (0.978, "SLOWER"), (1.0, "SAME")])
def test_runs_with_as_many_sets_decide_as_often_as_promised(value: float, outcome: str) -> None:
    """Whole stories: a run of five sets mistakes the deviation, asks how many are needed, and later runs have as many."""
    draw, deviation, decided, firsts, seconds = random.Random(3), 0.01, 0, 40, 100
    for _ in range(firsts):
        first = [draw.gauss(0, deviation) for _ in range(5)]
        mistaken = math.sqrt(sum((x - sum(first) / 5) ** 2 for x in first) / 4)
        need = undecided.needed(speedup(value, mistaken, 5), None)
        assert need is not None and need.sets is not None
        for _ in range(seconds):
            second = mean_interval([math.log(value) + draw.gauss(0, deviation) for _ in range(need.sets)]).exp()
            decided += verdict.outcome(second, MARGIN) == outcome
    assert POWER - 0.08 < decided / firsts / seconds < POWER + 0.08


def test_one_set_fewer_decides_too_rarely() -> None:
    told = speedup(1.02, 0.01, 5)
    need = undecided.needed(told, None)
    assert need is not None and need.sets is not None and need.outcome == "FASTER"
    assert 1 - undecided.chances(told, None, need.sets)["UNDECIDED"] >= POWER
    assert 1 - undecided.chances(told, None, need.sets - 1)["UNDECIDED"] < POWER


def test_more_scatter_needs_more_sets_and_a_speed_up_on_the_limit_needs_too_many() -> None:
    sets = [need.sets for s in (0.008, 0.012, 0.016) if (need := undecided.needed(speedup(1.02, s, 5), None))]
    assert all(isinstance(n, int) for n in sets) and sets == sorted(set(sets), key=int)
    assert undecided.needed(speedup(1 + MARGIN, 0.01, 5), None) == undecided.Need(None, "")
    assert undecided.needed(speedup(1.02, 0.01, undecided.MOST), None) == undecided.Need(None, "")


def test_a_noise_floor_that_is_only_wide_shrinks_and_one_that_is_off_stays() -> None:
    wide, off = interval(1.0, 0.02, 5), interval(1.03, 0.005, 5)
    assert not undecided.is_biased(wide) and undecided.is_biased(off)
    assert undecided.floor(wide, 5, 5) == pytest.approx(math.log(wide["high"]))
    assert undecided.floor(wide, 5, 40) < undecided.floor(wide, 5, 10) / 2
    assert undecided.floor(off, 5, 40) == pytest.approx(math.log(1.03))
    assert undecided.floor(None, 5, 5) == 0.0


def test_a_control_that_is_off_leaves_undecided_what_it_covers() -> None:
    told, off = speedup(1.03, 0.01, 5), interval(1.03, 0.005, 5)
    free = undecided.needed(told, None)
    assert free is not None and free.outcome == "FASTER"
    assert undecided.needed(told, off) == undecided.Need(None, "")
