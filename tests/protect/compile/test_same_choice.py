"""Sets of processes that have measured different things."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest

from aisp_runner.calibrate import Schedule
from aisp_runner.measure import Measurement
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.compile.same_choice import SameChoice
from aisp_runner.statistics import Calls, Round


def concluded(speedups: list[float], noise: float = 0.01, rounds: int = 8) -> Evidence | None:
    """Evidence on sets of processes with these speed-ups, whose batches scatter by `noise`."""
    chance, made = random.Random(4), []
    for process, speedup in enumerate(speedups):
        for _ in range(rounds):
            long = {
                arm: tuple(1e7 / factor * math.exp(chance.gauss(0.0, noise)) for _ in range(2))
                for arm, factor in (("baseline", 1.0), ("candidate", speedup))
            }
            made.append(Round(process, 1e3, {}, long))
    measured = Measurement(Schedule(Calls((4, 20), (4, 20)), "wall"), made)
    return SameChoice().judge_conclude(SimpleNamespace(measured=measured))  # type: ignore[arg-type]


@pytest.mark.parametrize("speedups", [[1.0, 1.0, 1.0], [2.0, 2.1, 1.95], [1.0, 1.2]])
def test_sets_that_differ_as_processes_do_pass(speedups: list[float]) -> None:
    found = concluded(speedups)
    assert found is not None and found.status == "pass"


@pytest.mark.parametrize("speedups", [[1.0, 0.5, 0.25], [2.0, 2.0, 1.0], [1.0, 1.35]])
def test_sets_that_measured_different_things_leave_nothing_to_tell(speedups: list[float]) -> None:
    found = concluded(speedups)
    assert found is not None and found.status == "unavailable" and "sets of processes give speed-ups of" in found.observed


def test_a_machine_whose_rounds_scatter_as_much_is_left_to_the_interval() -> None:
    found = concluded([1.0, 1.35], noise=0.3)
    assert found is not None and found.status == "pass"


def test_one_set_says_nothing_of_others() -> None:
    assert concluded([1.0]) is None


def test_a_clock_that_cannot_tell_is_not_its_concern() -> None:
    made = [Round(p, 1e6, {}, {"baseline": (1e5, 1e5), "candidate": (1e5, 1e5)}) for p in (0, 1)]
    measured = Measurement(Schedule(Calls((4, 20), (4, 20)), "wall"), made)
    assert SameChoice().judge_conclude(SimpleNamespace(measured=measured)) is None  # type: ignore[arg-type]
