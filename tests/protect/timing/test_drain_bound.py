"""The bound on what still runs after DONE, on made-up batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.timing.drain_bound import DrainBound
from protect.batches import batch


def concluded(baseline_us: list[float], candidate_us: list[float], device: str = "cpu") -> Evidence:
    """Evidence on long batches with these drains; short ones and those of another purpose drain endlessly."""
    batches = []
    for arm, drains in (("baseline", baseline_us), ("candidate", candidate_us)):
        for number, us in enumerate(drains):
            batches.append(batch(arm, 20, number=number, drain_us=us))
        batches += [batch(arm, 20, number=-1, purpose=purpose, drain_us=1e9) for purpose in ("warm_up", "dropped", "device")]
        batches.append(batch(arm, 4, drain_us=1e9))
    judge = SimpleNamespace(batches=batches, measured=None, device=SimpleNamespace(name=device))
    return DrainBound().judge_conclude(judge)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_candidate_that_drains_like_the_baseline_passes(device: str) -> None:
    assert concluded([200, 210, 205], [205, 200, 210], device).status == "pass"


@pytest.mark.parametrize(("device", "us"), [("cpu", 2500), ("cuda", 400)])
def test_a_candidate_that_goes_on_after_done_is_refused(device: str, us: float) -> None:
    found = concluded([200, 210, 205], [us, us + 10, us + 20], device)
    assert found.status == "fail" and found.arm == "candidate" and f"{us + 10} us" in found.observed


def test_one_noisy_batch_is_not_held_against_a_candidate() -> None:
    assert concluded([200, 210, 205], [205, 2900, 205]).status == "pass"


def test_the_limit_moves_with_the_baseline() -> None:
    assert concluded([2400, 2400, 2400], [2500, 2500, 2500]).status == "pass"


@pytest.mark.parametrize(
    ("us", "decided", "status"),
    [(2000.0, False, "fail"), (2000.0, True, "pass"), (5000.0, False, "fail"), (5000.0, True, "fail")],
)
def test_where_time_stamps_decide_waiting_for_a_turn_is_allowed_on_top(us: float, decided: bool, status: str) -> None:
    """Batches without calls took 2.4 ms."""
    judge = SimpleNamespace(
        batches=[batch("baseline", 0, us=2400.0), *[batch("baseline", 20, drain_us=30.0), batch("candidate", 20, drain_us=us)]],
        measured=SimpleNamespace(stamped=["a round"] if decided else []),
        case=SimpleNamespace(protections={}),
        device=SimpleNamespace(name="cuda"),
    )
    found = DrainBound().judge_conclude(judge)  # type: ignore[arg-type]
    assert found is not None and found.status == status
