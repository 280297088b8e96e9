"""Company: a candidate's processes that run in the others' turns are refused, idle ones and other people's are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner import host, verdict
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.environment import quiet_machine
from aisp_runner.protect.environment.quiet_machine import QuietMachine
from protect.batches import batch
from protect.environment.hosts import BASELINE, CANDIDATE, SERVER, judge_of, reading

CHILD, ORPHAN = 21, 22


class Clock:
    """Time and what processes have used, as far as a test lets them."""

    def __init__(self) -> None:
        self.now_ns, self.used = 1, {CHILD: 0, ORPHAN: 0}
        self.children: dict[int, set[int]] = {SERVER: {BASELINE, CANDIDATE, ORPHAN}, CANDIDATE: {CHILD}}

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def passes(self, ms: float, used: dict[int, float] | None = None) -> None:
        self.now_ns += round(ms * 1e6)
        for pid, spent in (used or {}).items():
            self.used[pid] = self.used.get(pid, 0) + round(spent * 1e6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(quiet_machine, "time", made)
    monkeypatch.setattr(host, "children", lambda pid: made.children.get(pid, set()))
    monkeypatch.setattr(host, "descendants", lambda pid: made.children.get(pid, set()))
    monkeypatch.setattr(host, "used_ns", lambda pid: made.used.get(pid, 0))
    return made


def rounds(clock: Clock, others: dict[int, float], mine: dict[int, float], purpose: str = "round") -> list[Evidence]:
    """Ten batches of the candidate, between which 100 ms pass. Time used in the others' turns, and in its own, ms."""
    judge: Any = judge_of()
    for number in range(10):
        given = batch(number=number, purpose=purpose)
        QuietMachine().judge_before_batch(judge, given)
        clock.passes(50, mine)
        QuietMachine().judge_after_batch(judge, given)
        QuietMachine().judge_before_batch(judge, batch("baseline", number=number))
        clock.passes(100, others)
        QuietMachine().judge_after_batch(judge, batch("baseline", number=number))
    return QuietMachine().judge_conclude(judge)


@pytest.mark.parametrize(
    ("others", "mine", "status"),
    [
        pytest.param({}, {}, "pass", id="nobody"),
        pytest.param({}, {CHILD: 50.0}, "pass", id="a pool that helps in its own turn"),
        pytest.param({CHILD: 1.0}, {}, "pass", id="a pool that wakes now and then"),
        pytest.param({CHILD: 80.0}, {}, "fail", id="a child in the others' turns"),
        pytest.param({ORPHAN: 80.0}, {}, "fail", id="an orphan in the others' turns"),
        pytest.param({BASELINE: 90.0, SERVER: 90.0}, {}, "pass", id="the baseline is to run"),
    ],
)
def test_what_the_candidate_left_running_may_not_run_in_the_others_turns(
    clock: Clock, others: dict[int, float], mine: dict[int, float], status: str
) -> None:
    found = rounds(clock, others, mine)[0]
    assert (found.status, found.arm) == (status, "candidate")
    if status == "fail":
        assert found.observed.endswith("used 720 ms of CPU time in 900 ms of the others' turns") and found.limit == "45 ms"


def test_what_still_compiles_while_it_warms_up_is_no_finding(clock: Clock) -> None:
    assert rounds(clock, {CHILD: 80.0}, {}, "warm_up")[0].status == "pass"


def test_a_process_that_is_started_in_the_others_turns_counts(clock: Clock) -> None:
    judge: Any = judge_of()
    QuietMachine().judge_after_batch(judge, batch())
    clock.children[CANDIDATE] = {CHILD, 23}
    clock.passes(100, {23: 60.0})
    QuietMachine().judge_before_batch(judge, batch())
    assert QuietMachine().judge_conclude(judge)[0].status == "fail"


@pytest.mark.parametrize(
    ("shares", "status"), [([0.1, 0.9, 0.2], "pass"), ([0.95, 0.92, 0.1], "unavailable"), ([None], "pass")]
)
def test_a_machine_that_others_keep_busy_is_unavailable(shares: list[float | None], status: str) -> None:
    judge = judge_of(readings=[reading(others_busy=share) for share in shares])
    assert QuietMachine().judge_conclude(judge)[1].status == status


@pytest.mark.parametrize(
    ("empty_us", "status"), [([420.0, 250.0, 4000.0], "pass"), ([2400.0, 1900.0, 20.0], "unavailable"), ([], "pass")]
)
def test_a_gpu_that_somebody_shares_lets_empty_batches_wait(empty_us: list[float], status: str) -> None:
    judge = judge_of(device=SimpleNamespace(name="cuda"), batches=[batch("baseline", 0, us=us) for us in empty_us])
    found = QuietMachine().judge_conclude(judge)[2]
    assert found.status == status
    if status == "unavailable":
        assert "took 1900 us on the GPU (median of 3); limit 1200 us: another process computes there" in found.observed


def test_on_a_cpu_empty_batches_tell_nothing_of_a_gpu() -> None:
    assert len(QuietMachine().judge_conclude(judge_of(batches=[batch("baseline", 0, us=9000.0)]))) == 2


@pytest.mark.parametrize(
    ("clock", "changes", "made", "said"),
    [
        ("off", {}, {}, "take another GPU; or let time stamps decide: install cupti-python (extra cupti), or set measure.dev"),
        ("off", {"candidate": "theirs.py::fast"}, {}, "there. End it, or take another GPU"),
        ("cupti", {}, {"no_device_clock": "no kernel"}, "another GPU: time stamps cannot decide here: no kernel"),
        ("cupti", {}, {"stamped": ["a round"]}, "there. The device's time stamps decide, and not the judge's clock"),
    ],
    ids=["nobody reads them", "outside code", "none to be had", "they decide"],
)
def test_what_to_do_on_a_shared_gpu_is_said(clock: str, changes: dict[str, Any], made: dict[str, Any], said: str) -> None:
    measured = {"dropped": 0, "stamped": [], "no_device_clock": "", "schedule": SimpleNamespace(mode="graph")}
    case = {"candidate": None, "claim": "kernel", "ranks": 1, "measure": SimpleNamespace(device_clock=clock)}
    judge = judge_of(
        device=SimpleNamespace(name="cuda"),
        batches=[batch("baseline", 0, us=2400.0)],
        measured=SimpleNamespace(**(measured | made)),
        case=SimpleNamespace(**(case | changes)),
    )
    found = QuietMachine().judge_conclude(judge)[2]
    assert found.status == "unavailable" and said in found.observed
    verdict_of = verdict.decide([found], None, "detect", None)
    assert verdict_of.reasons == ("environment.quiet_machine", "timing.resolution") and verdict_of.message == found.observed
