"""The bound of the judge's clock on a claim, on made-up batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner.judge import Batch
from aisp_runner.protect.timing.wall_clock_bound import WallClockBound


def concluded(short_us: float, long_us: float, empty_us: float = 50.0, device: str = "cpu") -> list[str]:
    """(padded, early): statuses for a candidate whose 4 and 20 calls take so long; the baseline takes 100 us a call."""
    batches = []
    for number in range(8):
        times = {("baseline", 0): empty_us, ("baseline", 4): empty_us + 400, ("baseline", 20): empty_us + 2000}
        times |= {("candidate", 4): short_us, ("candidate", 20): long_us}
        for (arm, calls), us in times.items():
            batches.append(Batch(0, number, arm, tuple(range(calls)), False, issued_ns=0, done_ns=round(us * 1e3)))
    judge = SimpleNamespace(batches=batches, device=SimpleNamespace(name=device), arms={"baseline": None, "candidate": None})
    return [e.status for e in WallClockBound().judge_conclude(judge)]  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("call_us", [20.0, 100.0, 500.0])
def test_a_candidate_whose_batches_grow_with_their_calls_passes(call_us: float, device: str) -> None:
    assert concluded(50 + 4 * call_us, 50 + 20 * call_us, device=device) == ["pass", "pass"]


def test_a_candidate_that_pads_its_short_batches_is_refused() -> None:
    assert concluded(50 + 2000, 50 + 2100) == ["fail", "pass"]


def test_a_candidate_that_is_done_before_an_empty_batch_is_refused() -> None:
    assert concluded(20, 25)[1] == "fail"


def test_jitter_within_the_slack_is_let_pass() -> None:
    assert concluded(50 + 400 + 200, 50 + 2000) == ["pass", "pass"]
