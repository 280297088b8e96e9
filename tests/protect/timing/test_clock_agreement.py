"""Clocks that look at the same work, on times made up for each of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.calibrate import Schedule
from aisp_runner.measure import Measurement
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.timing.clock_agreement import ClockAgreement
from aisp_runner.statistics import Calls, Round
from protect.batches import batch

CALLS, HANDSHAKE_US = 50, 20.0


def rounds(us: dict[str, float], handshake_us: float = HANDSHAKE_US) -> list[Round]:
    """Four rounds of long batches of calls that take so long each."""
    long = {arm: ((handshake_us + CALLS * each) * 1e3,) * 2 for arm, each in us.items()}
    return [Round(0, handshake_us * 1e3, {}, long) for _ in range(4)]


def both(baseline: float, candidate: float) -> dict[str, float]:
    return {"baseline": baseline, "candidate": candidate}


def concluded(
    among: dict[str, float],
    alone: dict[str, float] | None = None,
    stamps: dict[str, float] | None = None,
    kernels: float = 1.0,
    unseen_us: float = 0.0,
    **knobs: float,
) -> list[Evidence]:
    """among: us a call in long batches. alone: us of one-call batches. stamps: us a call by the device."""
    made = Measurement(Schedule(Calls((10, CALLS), (10, CALLS)), "graph"), rounds(among))
    made.serial = {arm: [1e3 * us, 1e3 * us, 50e3 * us] for arm, us in (alone or {}).items()}
    if stamps:
        made.busy, made.kernels = rounds(stamps, 0.0), {"candidate": kernels}
    batch = SimpleNamespace(timed=True, arm="candidate", calls=CALLS, mode="graph", unseen_ns=round(unseen_us * 1e3))
    judge: Any = SimpleNamespace(measured=made, batches=[batch] * 8)
    return ClockAgreement(**knobs).judge_conclude(judge)


def serial(among: dict[str, float], alone: dict[str, float], **knobs: float) -> list[str]:
    """(at least, at most)."""
    found = concluded(among, alone, **knobs)
    assert {e.arm for e in found} == {"candidate"} and {e.stage for e in found} == {"conclude"}
    return [e.status for e in found]


# A call alone and a call among many


@pytest.mark.parametrize("us", [0.5, 5.0, 100.0, 5000.0])
@pytest.mark.parametrize("candidate", [0.25, 1.0, 3.0])
def test_a_call_that_takes_as_long_alone_as_among_many_is_fine(us: float, candidate: float) -> None:
    times = both(us, us * candidate)
    assert serial(times, times) == ["pass", "pass"]


def test_where_a_neighbour_shares_long_batches_and_not_single_calls_the_baseline_shows_it() -> None:
    assert serial(both(2770.0, 2770.0), both(1385.0, 1385.0)) == ["pass", "pass"]
    assert serial(both(2770.0, 2770.0), both(1385.0, 900.0)) == ["fail", "pass"]
    assert serial(both(1385.0, 1385.0), both(2770.0, 900.0)) == ["fail", "pass"], "never more than the whole"


@pytest.mark.parametrize(("us", "status"), [((54.0, 900.0), "pass"), ((800.0, 900.0), "fail")])
def test_the_quickest_call_alone_counts_where_a_neighbour_makes_some_of_them_long(us: tuple[float, ...], status: str) -> None:
    made = Measurement(Schedule(Calls((10, CALLS), (10, CALLS)), "graph"), rounds(both(54.0, 54.0)))
    made.serial = {"baseline": [54e3, 54e3], "candidate": [1e3 * each for each in us]}
    judge: Any = SimpleNamespace(measured=made, batches=[])
    assert [e.status for e in ClockAgreement().judge_conclude(judge)] == ["pass", status]


@pytest.mark.parametrize(
    ("candidate_us", "unsettled_us", "status"),
    [
        (-457.7, 0.0, ["fail", "pass"]),
        (-457.7, 900.0, ["pass", "pass"]),
        (373.3, 0.0, ["pass", "fail"]),
        (373.3, 900.0, ["pass", "pass"]),
        (2000.0, 900.0, ["pass", "fail"]),
    ],
)
def test_a_call_alone_may_be_off_by_what_empty_batches_differ_by(
    candidate_us: float, unsettled_us: float, status: list[str]
) -> None:
    """Another process takes turns on the GPU, half a millisecond each: what was seen of a softmax of 58 us on an H200."""
    made = Measurement(Schedule(Calls((10, CALLS), (10, CALLS)), "graph"), rounds(both(58.0, 58.0)))
    made.serial, made.unsettled_ns = {"baseline": [58e3] * 2, "candidate": [1e3 * candidate_us] * 2}, 1e3 * unsettled_us
    judge: Any = SimpleNamespace(measured=made, batches=[])
    assert [e.status for e in ClockAgreement().judge_conclude(judge)] == status


@pytest.mark.parametrize(("unseen_us", "status"), [(0.0, "fail"), (CALLS * 600.0, "pass"), (CALLS * 50.0, "fail")])
def test_what_the_judge_did_not_see_is_not_held_against_a_candidate(unseen_us: float, status: str) -> None:
    """A judge that waits for a core reads the end of a batch late: 1,985 us a call where a call alone takes 1,385."""
    assert serial(both(1385.0, 1985.0), both(1385.0, 1385.0), unseen_us=unseen_us) == [status, "pass"]


def test_a_call_alone_may_pay_for_starting_up() -> None:
    assert serial(both(5.0, 5.0), both(12.0, 22.0)) == ["pass", "pass"]


def test_a_candidate_that_does_many_calls_work_in_one_is_refused() -> None:
    """50 calls in the time of one: 1.2 us among many, 60 alone, as the baseline takes either way."""
    found = concluded(both(60.0, 1.2), both(60.0, 60.0))
    assert [e.status for e in found] == ["pass", "fail"]
    assert found[1].observed == "a call alone takes 60.0 us, among many 1.2 us"
    assert found[1].limit == "alone at most 17.4 us"


def test_overlap_that_the_baseline_has_as_well_is_allowed_on_top() -> None:
    among = both(10.0, 10.0)
    assert serial(among, both(10.0, 50.0)) == ["pass", "fail"]
    assert serial(among, both(30.0, 50.0)) == ["pass", "pass"], "of the baseline's 30 us alone, 20 are not there among many"
    assert serial(among, both(30.0, 60.0)) == ["pass", "fail"]


def test_a_call_that_is_faster_alone_than_among_many_is_refused() -> None:
    """Its work does not fall into its own batch."""
    found = concluded(both(100.0, 100.0), both(100.0, 60.0))
    assert [e.status for e in found] == ["fail", "pass"] and found[0].limit == "alone at least 65.0 us"
    assert serial(both(100.0, 100.0), both(100.0, 70.0)) == ["pass", "pass"]
    assert serial(both(10.0, 10.0), both(10.0, 0.0)) == ["pass", "pass"], "less than the slack is not told"


def test_one_disturbed_call_alone_decides_nothing() -> None:
    """The last one-call batch took 50 times as long; the median counts."""
    assert serial(both(20.0, 20.0), both(20.0, 20.0)) == ["pass", "pass"]


def test_the_limits_are_knobs() -> None:
    among, alone = both(60.0, 1.2), both(60.0, 60.0)
    assert serial(among, alone, overlap=40.0) == ["pass", "pass"]
    assert serial(among, alone, serial_slack_us=60.0) == ["pass", "pass"]
    assert serial(both(100.0, 100.0), both(100.0, 60.0), least=0.7) == ["pass", "pass"]


# Time stamps and the judge's clock


@pytest.mark.parametrize(
    ("seen_us", "told_us", "kernels", "status"),
    [
        (10.0, 9.5, 1.0, "pass"),
        (10.0, 7.5, 1.0, "pass"),
        (10.0, 5.0, 1.0, "fail"),
        (100.0, 91.0, 1.0, "pass"),
        (100.0, 80.0, 1.0, "fail"),
        (100.0, 80.0, 10.0, "pass"),
        (5.0, 50.0, 1.0, "pass"),
    ],
    ids=["alike", "a launch", "more than a launch", "a share", "more than a share", "ten launches", "more than seen"],
)
def test_time_stamps_may_leave_launches_and_a_share_unexplained(
    seen_us: float, told_us: float, kernels: float, status: str
) -> None:
    (found,) = concluded(both(10.0, seen_us), stamps=both(10.0, told_us), kernels=kernels)
    assert (found.status, found.arm) == (status, "candidate")
    assert found.observed == f"time stamps tell of {told_us:.2f} us a call, the judge's clock of {seen_us:.2f} us"


def test_both_looks_leave_evidence() -> None:
    times = both(30.0, 20.0)
    assert [e.status for e in concluded(times, times, times)] == ["pass"] * 3


# Where there is nothing to compare


def test_a_case_timed_from_the_host_gives_no_evidence() -> None:
    assert concluded(both(10.0, 10.0)) == []


@pytest.mark.parametrize("made", [None, Measurement(Schedule(Calls((1, 2), (1, 2)), "graph"))], ids=["nothing", "no round"])
def test_without_rounds_there_is_no_evidence(made: Measurement | None) -> None:
    judge: Any = SimpleNamespace(measured=made)
    assert ClockAgreement().judge_conclude(judge) == []


# Where time stamps decide


def beside_a_neighbour(told_us: float, took_us: float = 4000.0, arm: str = "candidate", **made: Any) -> list[Evidence]:
    """Two batches with time stamps of each arm, one of which tells of so much; calls alone and many say anything."""
    measured = Measurement(Schedule(Calls((10, CALLS), (10, CALLS)), "graph"), rounds(both(58.0, 58.0)))
    measured.serial = {"baseline": [58e3], "candidate": [-457e3]}
    measured.busy, measured.stamped = rounds(both(5.0, 5.0), 0.0), made.pop("stamped", rounds(both(54.0, 54.0), 0.0))
    batches = []
    for role in ("baseline", "candidate", "control"):
        for us in (10.0, told_us if role == arm else 10.0):
            device = {"busy_ns": 1e3 * us, "quarter_ns": 54e3}
            batches.append(batch(role, 8, us=took_us, mode="profiled", purpose="device", device=device))
    judge: Any = SimpleNamespace(measured=measured, batches=batches)
    return ClockAgreement().judge_conclude(judge)


@pytest.mark.parametrize("arm", ["baseline", "candidate", "control"])
@pytest.mark.parametrize(("told_us", "status"), [(3999.0, "pass"), (4001.0, "fail")])
def test_a_batch_that_was_longer_in_kernels_than_the_judge_saw_is_refused(arm: str, told_us: float, status: str) -> None:
    found = beside_a_neighbour(told_us, arm=arm)
    assert {e.arm: e.status for e in found} == {"baseline": "pass", "candidate": "pass", "control": "pass"} | {arm: status}
    (said,) = [e.observed for e in found if e.arm == arm]
    assert said == f"time stamps tell of {told_us:.1f} us in a batch that took 4000.0 us by the judge's clock"


def test_calls_that_would_not_fit_into_their_batch_are_refused() -> None:
    assert {e.status for e in beside_a_neighbour(10.0, took_us=8 * 54 / 1.25 + 1)} == {"pass"}
    assert {e.status for e in beside_a_neighbour(10.0, took_us=8 * 54 / 1.25 - 1)} == {"fail"}


def test_a_neighbours_turns_are_held_against_nobody_where_time_stamps_decide() -> None:
    """Of 58 us a call the stamps explain 5, and a call alone takes less than nothing."""
    assert {e.status for e in beside_a_neighbour(432.0)} == {"pass"}
    assert [e.status for e in beside_a_neighbour(432.0, stamped=[])] == ["fail", "pass", "fail", "pass", "pass", "pass"]
