"""A batch must be long enough for the clock that times it, on made-up batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner.calibrate import Schedule
from aisp_runner.measure import Measurement
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.timing.calibrated_batch import CalibratedBatch
from aisp_runner.statistics import Calls, Round
from protect.batches import batch

EMPTY_US = (100.0, 104.0, 108.0, 112.0, 116.0, 120.0, 124.0, 128.0)
"""Their interquartile range is 16 us."""


def concluded(
    candidate_us: float, empty_us: tuple[float, ...] = EMPTY_US, baseline_us: float = 5000.0, device: str = "cuda"
) -> Evidence | None:
    batches = []
    for number, us in enumerate(empty_us):
        batches.append(batch("baseline", 0, number=number, us=us))
        batches += [
            batch("baseline", 20, number=number, us=baseline_us),
            batch("candidate", 20, number=number, us=candidate_us),
        ]
        batches += [batch("candidate", 4, number=number, us=1.0), batch("candidate", 20, us=1.0, purpose="warm_up")]
    measured = SimpleNamespace(stamped=[], schedule=Schedule(Calls((4, 20), (4, 20)), "wall"))
    judge = SimpleNamespace(batches=batches, measured=measured, device=SimpleNamespace(name=device))
    return CalibratedBatch().judge_conclude(judge)  # type: ignore[arg-type]


def test_a_batch_that_stands_well_above_the_clocks_scatter_passes() -> None:
    found = concluded(114.0 + 70.0)
    assert found is not None and found.status == "pass" and found.arm == "candidate"
    assert found.observed == "a long batch takes 70.0 us beyond the handshake, which scatters by 16.0 us"


@pytest.mark.parametrize("us", [114.0 + 60.0, 114.0, 100.0], ids=["short", "nothing", "negative"])
def test_a_batch_that_is_lost_in_the_clocks_scatter_cannot_be_told(us: float) -> None:
    found = concluded(us)
    assert found is not None and found.status == "unavailable"
    assert "64.0 us or more can be told" in found.observed and "measure.batch_ms" in found.observed


def test_the_baseline_is_looked_at_as_well() -> None:
    found = concluded(5000.0, baseline_us=120.0)
    assert found is not None and found.status == "unavailable" and found.observed.startswith("baseline: ")


@pytest.mark.parametrize(("device", "enough", "too_little"), [("cuda", 9.0, 7.0), ("cpu", 90.0, 70.0)])
def test_a_steady_clock_can_tell_short_batches_but_is_not_taken_for_perfect(
    device: str, enough: float, too_little: float
) -> None:
    status = {}
    for us in (enough, too_little):
        found = concluded(114.0 + us, empty_us=(114.0,) * 5, device=device)
        assert found is not None
        status[us] = found.status
    assert status == {enough: "pass", too_little: "unavailable"}


def test_it_is_silent_where_nothing_was_measured() -> None:
    assert CalibratedBatch().judge_conclude(SimpleNamespace(batches=[], measured=None)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("us", "status"), [(54.0, "pass"), (6.5, "pass"), (6.3, "unavailable")])
def test_where_time_stamps_decide_a_call_stands_well_above_their_steps(us: float, status: str) -> None:
    made = Measurement(
        Schedule(Calls((4, 20), (4, 20)), "graph"), [Round(0, 2.4e6, {}, {"baseline": (1e6,), "candidate": (1e6,)})]
    )
    made.stamped = [Round(0, 0.0, {}, {"baseline": (5e4, 5e4), "candidate": (1e3 * us, 1e3 * us)})]
    found = CalibratedBatch().judge_conclude(SimpleNamespace(batches=[], measured=made))  # type: ignore[arg-type]
    assert found is not None and found.status == status and "come in steps of 32 ns" in found.observed
