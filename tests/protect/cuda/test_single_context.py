"""The judge's own operation after either arm's batches, on made-up times."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.cuda.single_context import SingleContext
from protect.batches import batch


def concluded(baseline_us: list[float], candidate_us: list[float]) -> Evidence | None:
    """Evidence on rounds whose drains took so long; warm-up and empty batches took much longer."""
    batches = []
    for arm, drains in (("baseline", baseline_us), ("candidate", candidate_us)):
        batches += [batch(arm, 20, number=n, us=2000.0, drain_us=us) for n, us in enumerate(drains)]
        batches += [batch(arm, 20, drain_us=1e6, purpose="warm_up"), batch(arm, 0, drain_us=1e6)]
    judge = SimpleNamespace(batches=batches, measured=None, device=SimpleNamespace(name="cuda"))
    return SingleContext().judge_conclude(judge)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [([30.0] * 6, [30.0] * 6), ([900.0, 1500.0, 100.0], [800.0, 1300.0, 90.0]), ([30.0] * 6, [2000.0] * 6)],
    ids=["quiet", "a neighbour is always there", "the candidate is the one that is slowed"],
)
def test_arms_that_are_treated_alike_pass(baseline: list[float], candidate: list[float]) -> None:
    found = concluded(baseline, candidate)
    assert found is not None and found.status == "pass"


def test_work_in_the_baselines_turns_alone_is_refused() -> None:
    found = concluded([30.0, 1500.0, 1800.0, 1900.0, 2000.0], [30.0] * 5)
    assert found is not None and found.status == "fail" and "1800 us after the baseline's batches and 30 us" in found.observed


def test_one_slow_round_is_not_enough() -> None:
    found = concluded([30.0, 30.0, 30.0, 30.0, 2000.0], [30.0] * 5)
    assert found is not None and found.status == "pass"


@pytest.mark.parametrize(
    ("us", "decided", "status"),
    [(2000.0, False, "fail"), (2000.0, True, "pass"), (5000.0, False, "fail"), (5000.0, True, "fail")],
)
def test_where_time_stamps_decide_waiting_for_a_turn_is_allowed_on_top(us: float, decided: bool, status: str) -> None:
    """Batches without calls took 2.4 ms."""
    judge = SimpleNamespace(
        batches=[batch("baseline", 0, us=2400.0), *[batch("baseline", 20, drain_us=us), batch("candidate", 20, drain_us=30.0)]],
        measured=SimpleNamespace(stamped=["a round"] if decided else []),
        case=SimpleNamespace(protections={}),
        device=SimpleNamespace(name="cuda"),
    )
    found = SingleContext().judge_conclude(judge)  # type: ignore[arg-type]
    assert found is not None and found.status == status
