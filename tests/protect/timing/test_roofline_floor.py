"""The time that no call can undercut, against what the judge measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner import verdict
from aisp_runner.calibrate import Schedule
from aisp_runner.measure import Measurement
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.timing.roofline_floor import RooflineFloor
from aisp_runner.statistics import Calls, Round, estimate

CALLS = Calls((1, 10), (1, 10))


def measured(candidate_us: float) -> Measurement:
    """Rounds of a baseline of 20 us a call and a candidate of so many, and a handshake of 5 us."""
    long = {"baseline": (205e3, 205e3), "candidate": (5e3 + 1e4 * candidate_us,) * 2}
    return Measurement(Schedule(CALLS, "graph"), [Round(0, 5e3, {}, long)] * 3)


def concluded(made: Measurement | None, floor_us: float | None) -> Evidence | None:
    judge: Any = SimpleNamespace(measured=made, floor_s=None if floor_us is None else floor_us / 1e6)
    return RooflineFloor().judge_conclude(judge)


@pytest.mark.parametrize(
    ("candidate_us", "status"), [(20.0, "pass"), (10.0, "pass"), (9.9, "unavailable"), (0.1, "unavailable")]
)
def test_a_call_below_the_floor_is_not_believed(candidate_us: float, status: str) -> None:
    found = concluded(measured(candidate_us), 9.95)
    assert found is not None and found.status == status
    said = f"a call takes {candidate_us:.2f} us, and its declared work at least 9.95 us on this machine"
    assert found.observed.startswith(said) and (status == "pass" or "either `work:` is wrong" in found.observed)


def test_it_cannot_be_told_from_here_whose_mistake_it_is_so_a_gate_is_inconclusive() -> None:
    made = measured(1.0)
    found = concluded(made, 5.0)
    assert found is not None
    times = estimate(made.rounds, CALLS)
    assert verdict.decide([found], None, "gate", times) == verdict.Verdict(
        "INCONCLUSIVE", ("timing.roofline_floor",), found.observed
    )


@pytest.mark.parametrize(
    ("made", "floor_us"),
    [(measured(1.0), None), (None, 5.0), (Measurement(Schedule(CALLS, "graph")), 5.0)],
    ids=["no ceiling", "nothing measured", "no round"],
)
def test_where_nothing_is_known_nothing_is_said(made: Measurement | None, floor_us: float | None) -> None:
    assert concluded(made, floor_us) is None


def test_time_stamps_that_decide_are_held_to_the_floor() -> None:
    made = measured(100.0)
    made.stamped = [Round(0, 0.0, {}, {"baseline": (2e4, 2e4), "candidate": (9e3, 9e3)})]
    found = concluded(made, 9.95)
    assert found is not None and found.status == "unavailable" and found.observed.startswith("a call takes 9.00 us")
