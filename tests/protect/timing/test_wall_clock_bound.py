"""The bound of the judge's clock on a claim, on made-up batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner.judge import Batch
from aisp_runner.protect.timing.wall_clock_bound import WallClockBound
from protect.batches import batch


def sampled(short_us: float, long_us: tuple[float, float], empty_us: float = 50.0, rounds: int = 8) -> list[Batch]:
    """Rounds of a candidate whose 4 and 20 calls take so long; the baseline takes 100 us a call."""
    batches = []
    for number in range(rounds):
        long = [("baseline", empty_us + 2000), *(("candidate", us) for us in long_us), ("baseline", empty_us + 2000)]
        short = [("baseline", empty_us + 400), ("candidate", short_us)]
        batches.append(batch("baseline", 0, number=number, us=empty_us))
        batches += [batch(arm, 20, number=number, us=us) for arm, us in long]
        batches += [batch(arm, 4, number=number, us=us) for arm, us in short]
    return batches


def said(batches: list[Batch], device: str = "cpu") -> list[str]:
    """(padded, early)."""
    judge = SimpleNamespace(batches=batches, measured=None, device=SimpleNamespace(name=device))
    return [e.status for e in WallClockBound().judge_conclude(judge)]  # type: ignore[arg-type]


def concluded(short_us: float, long_us: float, device: str = "cpu") -> list[str]:
    return said(sampled(short_us, (long_us, long_us)), device)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("call_us", [20.0, 100.0, 500.0])
def test_a_candidate_whose_batches_grow_with_their_calls_passes(call_us: float, device: str) -> None:
    assert concluded(50 + 4 * call_us, 50 + 20 * call_us, device=device) == ["pass", "pass"]


def test_a_candidate_that_pads_its_short_batches_is_refused() -> None:
    assert concluded(50 + 2000, 50 + 2100) == ["fail", "pass"]


@pytest.mark.parametrize(("rounds", "status"), [(2, "pass"), (4, "pass"), (5, "fail")])
def test_padding_is_refused_once_there_are_rounds_enough_to_tell_it_from_noise(rounds: int, status: str) -> None:
    assert said(sampled(50 + 2000, (50 + 2100, 50 + 2100), rounds=rounds)) == [status, "pass"]


def test_a_candidate_that_is_done_before_an_empty_batch_is_refused() -> None:
    assert concluded(20, 25)[1] == "fail"


@pytest.mark.parametrize(("rounds", "status"), [(2, "unavailable"), (4, "unavailable"), (5, "fail")])
def test_done_too_early_in_few_rounds_is_not_called_a_cheat_and_does_not_pass(rounds: int, status: str) -> None:
    found = said(sampled(20, (25, 25), rounds=rounds))
    assert found == ["pass", status]


def test_jitter_within_the_slack_is_let_pass() -> None:
    assert concluded(50 + 400 + 200, 50 + 2000) == ["pass", "pass"]


def test_both_long_batches_of_a_round_count_and_none_hides_the_other() -> None:
    """A short batch as long as the mean of the long ones is padded, whichever of the two was long."""
    assert said(sampled(1500, (2050, 1050))) == ["fail", "pass"] == said(sampled(1500, (1050, 2050)))
    assert said(sampled(450, (2150, 1950))) == ["pass", "pass"], "they differ, and their mean fits the short one"
    assert said(sampled(450, (2050, 25)))[1] == "fail", "one of the two was done before an empty batch"


def test_batches_that_are_no_part_of_a_round_and_those_of_other_sets_are_left_out() -> None:
    """Sets but the first have no short batches, and nothing else is what the speed-up was made of."""
    honest = sampled(450, (2050, 2050))
    others = [batch("candidate", 20, purpose=purpose, us=5.0) for purpose in ("warm_up", "dropped", "serial", "device", "gap")]
    others += [batch("candidate", 20, process=1, us=5.0), batch("baseline", 0, process=1, us=5.0)]
    assert said(honest + others) == ["pass", "pass"]


def test_a_batch_of_another_round_does_not_mend_a_padded_one() -> None:
    padded = sampled(2000, (2100, 2100))
    assert said([*padded, batch("candidate", 4, number=8, us=50.0)]) == ["fail", "pass"]


@pytest.mark.parametrize(("us", "status"), [((900.0, 900.0), "pass"), ((900.0, 400.0), "fail"), ((), "fail")])
def test_where_time_stamps_decide_each_batch_bounds_them(us: tuple[float, ...], status: str) -> None:
    """Sealed rounds of a shared GPU look padded; 8 calls of 54 us are told of every batch with stamps."""
    device = {"busy_ns": 432e3, "quarter_ns": 54e3}
    batches = [batch(calls=8, us=each, mode="profiled", purpose="device", device=device) for each in us]
    judge = SimpleNamespace(
        batches=sampled(50 + 2000, (2100, 2100)) + batches,
        measured=SimpleNamespace(stamped=["a round"]),
        device=SimpleNamespace(name="cuda"),
    )
    (found,) = WallClockBound().judge_conclude(judge)  # type: ignore[arg-type]
    assert (found.status, found.arm) == (status, "candidate")
