"""How many values an interval needs, on rounds made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from aisp_runner.calibrate import Schedule
from aisp_runner.case import Measure
from aisp_runner.content import content_root
from aisp_runner.intervals import CONFIDENCE
from aisp_runner.measure import Measurement
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.statistical.enough_rounds import EnoughRounds
from aisp_runner.statistics import Calls, Round


def concluded(rounds: int, sets: int = 1) -> Evidence | None:
    """Rounds whose times differ a little from one to the next."""
    made = [
        Round(process, 10.0, {}, {"baseline": (2000.0 + n + process, 2001.0 - n), "candidate": (1000.0, 1003.0 + n)})
        for n in range(rounds)
        for process in range(sets)
    ]
    measured = Measurement(Schedule(Calls((4, 20), (4, 20)), "wall"), made)
    judge: Any = SimpleNamespace(measured=measured if made else None)
    return EnoughRounds().judge_conclude(judge)


@pytest.mark.parametrize(
    ("rounds", "sets", "status"),
    [(1, 1, "unavailable"), (2, 1, "unavailable"), (3, 1, "pass"), (8, 1, "pass"), (1, 2, "pass"), (2, 5, "pass")],
)
def test_one_set_needs_six_pairs_and_several_sets_need_two(rounds: int, sets: int, status: str) -> None:
    found = concluded(rounds, sets)
    assert found is not None and found.status == status


def test_what_is_missing_is_said_with_what_to_do() -> None:
    found = concluded(1)
    assert found is not None and found.observed == (
        "2 pairs of batches in 1 set of processes cover 50%, and an interval of 95% needs 6 or a second set: "
        "raise measure.min_rounds or measure.processes"
    )


def test_a_case_that_was_not_measured_is_left_to_the_verdict() -> None:
    assert concluded(0) is None


def settings(name: str) -> dict[str, Any]:
    """The fields of one of the shipped settings, with those that it takes from another."""
    path = Path(content_root()) / "conf" / "measure" / f"{name}.yaml"
    said = yaml.safe_load(path.read_text("utf-8"))
    below = {}
    for other in said.pop("defaults", []):
        below |= settings(other) if other != "_self_" else {}
    return below | said


@pytest.mark.parametrize("name", ["quick", "standard", "publication"])
def test_every_shipped_setting_asks_for_enough(name: str) -> None:
    said = settings(name)
    found = concluded(said["min_rounds"], said["processes"])
    assert found is not None and found.status == "pass"


def test_the_defaults_of_a_plan_ask_for_enough() -> None:
    found = concluded(Measure().min_rounds, Measure().processes)
    assert found is not None and found.status == "pass" and CONFIDENCE == 0.95
