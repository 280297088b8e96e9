"""Who decides on a GPU that somebody shares; live on the CPU, with gates, empty batches and time stamps made up."""

from __future__ import annotations

import collections
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gated import FEW, LENIENT, gated, stamps
from protect.batches import batch

from aisp_runner import device_rounds, verdict
from aisp_runner.arm import ArmTimeout
from aisp_runner.calibrate import Schedule
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import Batch, Judge
from aisp_runner.measure import Measurement
from aisp_runner.sharing import LEAST_NS
from aisp_runner.statistics import Round, estimate

pytest_plugins = ("shared_server",)

SHARED_NS = 2_400_000
"""An empty batch beside a process that computes on the same GPU."""

SETS, ROLES = 2, ("baseline", "candidate", "control")


def told(batch: Batch, **changes: Any) -> dict[str, Any]:
    """800 us a call of the baseline, 400 us of the candidate: less than either takes here."""
    ns = 4e5 if batch.arm == "candidate" else 8e5
    each = {"kernels": batch.calls, "busy_ns": ns * batch.calls, "span_ns": ns * batch.calls}
    return each | {"call_ns": ns, "quarter_ns": ns} | changes


def shared(server: ForkServer, folder: Path, given: dict[str, Any] | None = None, **changes: Any) -> tuple[Judge, Measurement]:
    """Two sets with a control beside a neighbour, of four rounds: no interval is narrow enough."""
    knobs = {"processes": SETS, "control": True, "rounds": 4, "min_rounds": 2, "half_width": -1.0, "serial": 1}
    knobs |= {"device_clock": "cupti", "device_rounds": 1} | changes.pop("knobs", {})
    changes = {"stamps": staticmethod(told), "empty_ns": SHARED_NS} | changes
    return gated(server, folder, changes.pop("mode", "gated"), given=given or {}, knobs=knobs, **changes)


def purposes(judge: Judge) -> dict[str, int]:
    return collections.Counter(b.purpose for b in judge.batches)


def statuses(judge: Judge, protection: str) -> dict[str, str]:
    return {e.arm: e.status for e in judge.shields.evidence if e.protection == protection and e.stage == "conclude"}


def test_time_stamps_decide_for_trusted_code_in_every_set_and_with_the_control(server: ForkServer, tmp_path: Path) -> None:
    judge, made = shared(server, tmp_path)
    assert made.source == "device" and made.why_device == (
        "another process computes on the GPU: a batch without calls took 2400 us on the GPU (median of 4); limit 1200 us"
    )
    assert len(made.rounds) == SETS * 2, "rounds by the judge's clock end where they say nothing"
    assert [(r.process, set(r.long_ns)) for r in made.stamped] == [(n % SETS, set(ROLES)) for n in range(SETS * 4)]
    found = made.estimate()
    assert found.speedup is not None and found.control is not None and len(found.by_process) == SETS
    assert (found.speedup.value, found.control.value, found.floor) == pytest.approx((2, 1, 0))
    assert found.arms_ns == pytest.approx({"baseline": 8e5, "candidate": 4e5, "control": 8e5})
    assert found.handshake_ns == SHARED_NS, "what a batch without calls takes is the judge's to say"
    assert purposes(judge) == {"warm_up": SETS * 3, "round": SETS * 14 + 4, "device": SETS * 4 * 6}
    assert {b.mode for b in judge.batches if b.purpose in ("warm_up", "device")} == {"profiled"}


def test_an_honest_case_that_time_stamps_decide_is_refused_by_nothing(server: ForkServer, tmp_path: Path) -> None:
    judge, made = shared(server, tmp_path)
    assert made.stamped
    evidence = [e for e in judge.shields.evidence if e.protection != "timing.drain_bound"]  # it is switched off here
    for phase in ("detect", "gate"):
        assert verdict.decide(evidence, None, phase, made.estimate()) == verdict.Verdict("VALID")
    assert statuses(judge, "timing.clock_agreement") == dict.fromkeys(ROLES, "pass")
    assert statuses(judge, "timing.wall_clock_bound") == {"candidate": "pass"}
    whole = next(e for e in judge.shields.evidence if e.protection == "statistical.whole_sample")
    assert "0 of 48 batches with time stamps are left out, 0 of 8 rounds are not theirs" in whole.observed


def test_rounds_of_time_stamps_end_by_the_same_rule(server: ForkServer, tmp_path: Path) -> None:
    judge, made = shared(server, tmp_path, knobs={"half_width": 0.01})
    assert len(made.stamped) == SETS * 2 and purposes(judge)["device"] == SETS * 2 * 6


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"candidate": "theirs.py::fast"}, {}),
        ({"claim": "wall"}, {}),
        ({"protections": {k: v for k, v in LENIENT.items() if k != "timing.clock_agreement"}}, {}),
        ({"protections": LENIENT | {"environment.quiet_machine": {"empty_us": 3000.0}}}, {}),
        ({}, {"knobs": {"device_clock": "off"}}),
        ({}, {"empty_ns": 300_000}),
    ],
    ids=["outside code", "wall time", "nothing bounds the stamps", "a higher limit", "nobody reads them", "a quiet GPU"],
)
def test_the_judges_clock_decides_elsewhere(
    server: ForkServer, tmp_path: Path, given: dict[str, Any], changes: dict[str, Any]
) -> None:
    judge, made = shared(server, tmp_path, given, **changes)
    assert (made.source, made.why_device, made.stamped) == ("sealed", "", [])
    assert len(made.rounds) == SETS * 4 and purposes(judge)["serial"] == 3
    assert made.estimate().arms_ns == estimate(made.rounds, made.schedule.calls).arms_ns


@pytest.mark.parametrize(
    ("stamping", "said"),
    [
        (lambda b: {"error": "the profiler saw no kernel"}, "baseline: the profiler saw no kernel"),
        (stamps, "baseline: a call takes 4.00 us, and time stamps in steps of 32 ns tell 6.4 us or more"),
        (lambda b: told(b, kernels=b.calls + 1), "baseline: 4 kernels cannot be shared out over 3 calls"),
        (
            lambda b: told(b, quarter_ns=2_100_000),
            "in 12 of 12 batches every call took longer than 2 ms, the turn that a process has on a shared GPU",
        ),
    ],
    ids=["none", "too short", "uneven", "longer than a turn"],
)
def test_without_time_stamps_that_can_tell_the_rounds_go_on(
    server: ForkServer, tmp_path: Path, stamping: Any, said: str
) -> None:
    _, made = shared(server, tmp_path, stamps=staticmethod(stamping))
    assert made.no_device_clock == said
    assert (made.source, made.why_device, made.busy, made.span) == ("sealed", "", [], [])
    assert len(made.rounds) == SETS * 4


def test_one_batch_without_a_whole_call_in_its_turn_stops_nothing(server: ForkServer, tmp_path: Path) -> None:
    odd = {(0, 0, "control"): 3e6}

    def now_and_then(batch: Batch) -> dict[str, Any]:
        ns = odd.pop((batch.process, batch.round, batch.arm), None)
        return told(batch, **({"quarter_ns": ns} if ns else {}))

    _, made = shared(server, tmp_path, stamps=staticmethod(now_and_then))
    assert made.source == "device" and not odd


@pytest.mark.parametrize("purpose", ["warm_up", "device"])
def test_launches_that_do_not_fit_behind_the_gate_leave_the_judges_clock(
    server: ForkServer, tmp_path: Path, purpose: str
) -> None:
    def stuck(batch: Batch) -> dict[str, Any]:
        if batch.purpose == purpose:
            raise ArmTimeout("candidate candidate")
        return told(batch)

    _, made = shared(server, tmp_path, stamps=staticmethod(stuck))
    assert made.no_device_clock.startswith("candidate candidate launches more than fits behind the gate")
    assert (made.source, made.schedule.mode, len(made.rounds)) == ("sealed", "gated", SETS * 4)


@pytest.mark.parametrize("arm", ROLES)
def test_time_stamps_that_tell_of_more_than_the_judge_saw_are_refused(server: ForkServer, tmp_path: Path, arm: str) -> None:
    def bragging(batch: Batch) -> dict[str, Any]:
        return told(batch, **({"busy_ns": 1e12} if batch.arm == arm else {}))

    judge, _ = shared(server, tmp_path, stamps=staticmethod(bragging))
    assert statuses(judge, "timing.clock_agreement") == {role: "fail" if role == arm else "pass" for role in ROLES}
    assert statuses(judge, "timing.wall_clock_bound") == {"candidate": "fail" if arm == "candidate" else "pass"}


def test_a_batch_holds_enough_calls_for_one_of_them_to_fit_into_a_turn(server: ForkServer, tmp_path: Path) -> None:
    judge, made = shared(server, tmp_path, knobs={"calls": None, "rounds": 2, "verify_seconds": 0.0})
    assert made.schedule.calls.of("baseline")[1] == 3
    assert {b.calls for b in judge.batches if b.purpose == "device"} == {8}
    assert estimate(made.busy, made.schedule.calls).arms_ns == pytest.approx(made.estimate().arms_ns), "a time a call"


def at_times(long_us: float, empty_us: tuple[float, ...], refused: bool = False) -> str:
    """Why time stamps decide after rounds whose long batches and empty ones took so long."""
    made = Measurement(
        Schedule(FEW, "graph"), [Round(0, 1e6, {}, {"baseline": (1e3 * long_us,), "candidate": (1e3 * long_us,)})]
    )
    judge: Any = SimpleNamespace(
        case=SimpleNamespace(
            candidate=None, claim="kernel", ranks=1, protections={}, measure=SimpleNamespace(device_clock="cupti")
        ),
        shields=SimpleNamespace(on=lambda name: True),
        refused=lambda: refused,
        batches=[batch("baseline", 0, us=us) for us in empty_us],
    )
    return device_rounds.why(judge, made)


def test_a_neighbour_who_comes_and_goes_matters_where_the_judges_clock_gives_no_time() -> None:
    now_and_then = (300.0, 300.0, 2400.0)
    assert at_times(900.0, now_and_then) == (
        "another process computes on the GPU at times: a batch without calls took up to 2400 us; limit 1200 us, "
        "and the judge's clock gives no time a call"
    )
    assert at_times(2000.0, now_and_then) == "", "it gives one"
    assert at_times(900.0, (300.0, 300.0)) == "", "nobody was there"
    assert at_times(900.0, now_and_then, refused=True) == "" == at_times(2000.0, (2400.0,), refused=True)
    assert at_times(2000.0, (2400.0,)) != ""


def test_calls_as_short_as_a_step_of_the_stamps_are_not_told() -> None:
    assert LEAST_NS == 6400
