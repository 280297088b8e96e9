"""The schedule: on a judge whose batches take the time that a test says, and live on the CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import case, tried
from test_measure import LENIENT, SPINS

from aisp_runner.arm import ArmTimeout, CannotCapture
from aisp_runner.calibrate import (
    CONTENT_BYTES,
    GATED_CALLS,
    STEADY,
    WALL_GPU_FACTOR,
    WARM_UP_BATCHES,
    Schedule,
    calibrate,
    fall_back,
    most_calls,
)
from aisp_runner.case import Measure, Tensor
from aisp_runner.errors import WorkerFault
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import Batch
from aisp_runner.statistics import Calls

pytest_plugins = ("shared_server",)

ROLES = ("baseline", "candidate", "control")
SLOT = 3 * 256
"""Bytes of a call's tensors, padded."""


class FakeJudge:
    """Batches of 50 us plus so many us a call; `slower` multiplies that for the n-th batch that is asked for."""

    def __init__(
        self,
        us: dict[str, float],
        *,
        device: str = "cuda",
        cache_bytes: int = 0,
        slots: int = 512,
        cache: str = "cold",
        claim: str = "kernel",
        refuses: dict[str, Exception] | None = None,
        behind_gate: int = 10**6,
        agrees: bool = True,
        slower: Callable[[int], float] = lambda n: 1.0,
        **knobs: Any,
    ) -> None:
        """refuses: what the candidate raises in a mode. behind_gate: calls that fit there."""
        tensor = Tensor("a", (64,), "float32", "activation")
        self.case = SimpleNamespace(
            device=device, cache=cache, claim=claim, ranks=1, measure=Measure(**knobs), inputs=(tensor,) * 2, outputs=(tensor,)
        )
        self.device = SimpleNamespace(cache_bytes=cache_bytes)
        self.slots, self.refuses, self.behind_gate, self.slower = slots, refuses or {}, behind_gate, slower
        self.us = us | {"control": us["baseline"]}
        self.process = 0
        self.shields = SimpleNamespace(on=lambda name: True)
        self.agrees = lambda batches: agrees
        sets = [{role: (role, number) for role in ROLES} for number in range(2)]
        self.cast = SimpleNamespace(roles=ROLES, sets=sets, all=lambda: [arm for arms in sets for arm in arms.values()])
        self.rehearsed: list[list[tuple[str, int]]] = []
        self.batches: list[Batch] = []
        self.verified: list[list[str]] = []
        self.draws = 0

    @property
    def arms(self) -> dict[str, tuple[str, int]]:
        return self.cast.sets[self.process]

    def rehearse(self, arms: list[tuple[str, int]]) -> None:
        self.rehearsed.append(list(arms))

    def draw(self, calls: dict[str, int]) -> None:
        self.draws += 1

    def verify(self, batches: list[Batch]) -> None:
        self.verified.append([b.arm for b in batches])

    def run(self, role: str, calls: int, window: int, mode: str) -> Batch:
        if role == "candidate" and mode in self.refuses:
            raise self.refuses[mode]
        if mode != "wall" and calls > self.behind_gate:
            raise ArmTimeout(f"{role} {role}")
        us = 50 + self.us[role] * calls * self.slower(len(self.batches))
        made = Batch(0, "warm_up", -1, role, tuple(range(calls)), mode, self.process, done_ns=round(us * 1e3))
        self.batches.append(made)
        return made


def scheduled(us: dict[str, float], **changes: Any) -> tuple[Schedule, FakeJudge]:
    judge = FakeJudge(us, **changes)
    return calibrate(judge), judge  # type: ignore[arg-type]


def arms(baseline: float, candidate: float) -> dict[str, float]:
    return {"baseline": baseline, "candidate": candidate}


# Calls of a batch


def test_a_batch_lasts_as_long_as_is_aimed_at_on_each_device() -> None:
    for device, mode, aim_ms in (("cpu", "auto", 8.0), ("cuda", "graph", 4.0), ("cuda", "wall", 4.0 * WALL_GPU_FACTOR)):
        made, _ = scheduled(arms(40.0, 40.0), device=device, mode=mode, batch_ms=8.0, batch_gpu_ms=4.0)
        short, long = made.calls.baseline
        assert long == pytest.approx(aim_ms * 1e3 / 40, rel=0.02) and short == long // 5


@pytest.mark.parametrize(
    ("candidate_us", "shared"), [(100.0, True), (51.0, True), (190.0, True), (49.0, False), (210.0, False)]
)
def test_arms_get_the_same_calls_where_they_are_alike(candidate_us: float, shared: bool) -> None:
    made, _ = scheduled(arms(100.0, candidate_us), batch_gpu_ms=10.0)
    both = made.calls.baseline[1], made.calls.candidate[1]
    alone = [round(10e3 / us) for us in (100.0, candidate_us)]
    assert both == ((min(alone),) * 2 if shared else tuple(alone))


def test_a_call_longer_than_a_batch_is_still_called_twice() -> None:
    made, _ = scheduled(arms(50e3, 60e3), batch_gpu_ms=2.0)
    assert made.calls == Calls((1, 2), (1, 2))


def test_calls_that_were_asked_for_are_taken_as_far_as_there_are_slots() -> None:
    assert scheduled(arms(10.0, 1e3), calls=(8, 64))[0].calls == Calls((8, 64), (8, 64))
    assert scheduled(arms(10.0, 1e3), calls=(8, 64), slots=5)[0].calls == Calls((4, 5), (4, 5))


@pytest.mark.parametrize(
    ("changes", "mode", "most"),
    [
        ({}, "wall", 512),
        ({}, "graph", 512),
        ({}, "gated", GATED_CALLS),
        ({"slots": 100}, "gated", 100),
        ({"slots": 10**9}, "graph", CONTENT_BYTES // SLOT),
        ({"cache": "hot", "cache_bytes": 200 * SLOT}, "graph", 100),
        ({"cache": "cold", "cache_bytes": 200 * SLOT}, "graph", 512),
        ({"cache": "hot", "cache_bytes": 3 * SLOT}, "wall", 2),
        ({"cache": "hot", "cache_bytes": 0, "device": "cpu"}, "wall", 512),
    ],
    ids=["slots", "graph", "the queue", "fewer slots", "content", "a hot cache", "a cold cache", "two at least", "no cache"],
)
def test_calls_are_limited_by(changes: dict[str, Any], mode: str, most: int) -> None:
    assert most_calls(FakeJudge(arms(1.0, 1.0), **changes), mode) == most  # type: ignore[arg-type]


def test_a_hot_cache_limits_the_content_of_a_batch_however_short_its_calls_are() -> None:
    made, judge = scheduled(arms(0.1, 0.1), cache="hot", cache_bytes=64 * SLOT)
    assert made.calls.baseline[1] == 32 and max(b.calls for b in judge.batches) == 32


# The clock


STUCK, NO_GRAPH = ArmTimeout("candidate fast"), CannotCapture("candidate fast: no")


@pytest.mark.parametrize(
    ("changes", "mode", "reason"),
    [
        ({}, "graph", ""),
        ({"refuses": {"graph": NO_GRAPH}}, "gated", "no graph: candidate fast: no"),
        ({"agrees": False}, "gated", "no graph: calls are not all launched on the current stream"),
        (
            {"refuses": {"graph": NO_GRAPH, "gated": STUCK}},
            "wall",
            "no graph: candidate fast: no; candidate fast waits for the device inside a call",
        ),
        ({"refuses": {"graph": STUCK}}, "wall", "candidate fast waits for the device inside a call"),
        ({"claim": "wall"}, "wall", "the claim is wall time"),
        ({"mode": "wall"}, "wall", "measure.mode is wall"),
        ({"mode": "gated"}, "gated", ""),
        ({"device": "cpu"}, "wall", ""),
    ],
    ids=["graph", "no capture", "other streams", "waits", "waits in a graph", "claim", "asked for", "gated", "cpu"],
)
def test_the_clock_is_the_best_that_both_arms_allow(changes: dict[str, Any], mode: str, reason: str) -> None:
    made, judge = scheduled(arms(20.0, 20.0), **changes)
    assert (made.mode, made.reason) == (mode, reason)
    assert {b.mode for b in judge.batches[-4:]} == {mode}, "and it is the one that is warmed up"


@pytest.mark.parametrize(
    ("mode", "fault", "why"),
    [("graph", NO_GRAPH, "no graph: candidate fast: no"), ("gated", STUCK, "candidate fast waits for the device")],
)
def test_a_clock_that_was_asked_for_and_does_not_work_ends_the_case(mode: str, fault: Exception, why: str) -> None:
    with pytest.raises(WorkerFault, match=rf"measure\.mode={mode} cannot be used: {why}.*Use measure\.mode=auto"):
        scheduled(arms(20.0, 20.0), mode=mode, refuses={mode: fault})


def test_fewer_calls_are_tried_where_not_all_fit_behind_the_gate() -> None:
    made, _ = scheduled(arms(10.0, 10.0), mode="gated", behind_gate=80, batch_gpu_ms=0.9)
    assert made.mode == "gated" and made.calls.baseline == (4, 22), "90 do not fit, a quarter of them does"


def test_calls_that_were_asked_for_and_do_not_fit_behind_the_gate_are_timed_by_the_host() -> None:
    made, _ = scheduled(arms(10.0, 10.0), calls=(20, 100), behind_gate=80)
    assert (made.mode, made.calls.baseline) == ("wall", (20, 100))
    assert made.reason == "baseline baseline: more than fits behind the gate"


def test_a_gate_that_was_asked_for_and_does_not_take_the_calls_ends_the_case() -> None:
    with pytest.raises(WorkerFault, match=r"measure\.mode=gated cannot be used: .*more than fits behind the gate"):
        scheduled(arms(10.0, 10.0), mode="gated", calls=(20, 100), behind_gate=80)


class Moody(FakeJudge):
    """One batch of a better clock than the host's, the n-th, cannot be made ready."""

    stuck = 0

    def run(self, role: str, calls: int, window: int, mode: str) -> Batch:
        if mode != "wall" and sum(b.mode != "wall" for b in self.batches) == self.stuck:
            raise ArmTimeout(f"{role} {role}")
        return super().run(role, calls, window, mode)


@pytest.mark.parametrize("knobs", [{"calls": (2, 8)}, {}], ids=["calls given", "calls found"])
def test_a_batch_that_is_ready_at_one_time_and_not_at_another_never_ends_a_case(knobs: dict[str, Any]) -> None:
    _, usual = scheduled(arms(20.0, 20.0), **knobs)
    behind_gate = sum(b.mode != "wall" for b in usual.batches)
    for stuck in range(behind_gate):
        judge = Moody(arms(20.0, 20.0), **knobs)
        judge.stuck = stuck
        made = calibrate(judge)  # type: ignore[arg-type]
        assert made.mode == "wall" and made.calls.baseline[1] > 1, stuck
        assert any(f"{role} {role}" in made.reason for role in ROLES), made.reason


def test_growing_stops_at_what_fits_behind_the_gate() -> None:
    made, _ = scheduled(arms(3.0, 3.0), mode="gated", behind_gate=40, batch_gpu_ms=0.5)
    assert made.mode == "gated" and 8 <= made.calls.baseline[1] <= 40, "64 calls were tried, and 8 were the largest that fit"


def test_falling_back_keeps_the_calls_and_says_why() -> None:
    before = Schedule(Calls((1, 5), (2, 10)), "graph", "", 3, False)
    after = fall_back(before, STUCK)
    assert (after.mode, after.calls, after.warm_up_batches, after.steady) == ("wall", before.calls, 3, False)
    assert after.reason == "candidate fast: a batch that had fitted behind the gate no longer did"


# Warming up


def test_every_worker_is_rehearsed_the_first_set_before_the_others() -> None:
    _, judge = scheduled(arms(20.0, 20.0))
    first, others = judge.rehearsed
    assert first == [("baseline", 0), ("candidate", 0)]
    assert sorted(first + others) == sorted(itertools.product(ROLES, range(2)))


def test_every_worker_visits_every_slot_in_every_way_it_will_be_timed() -> None:
    made, judge = scheduled(arms(20.0, 200.0))
    calls = {role: made.calls.of(role)[1] for role in ROLES}
    visited = {(b.arm, b.process, b.mode) for b in judge.batches if b.calls == calls[b.arm]}
    assert visited >= set(itertools.product(ROLES, range(2), ("wall", "graph")))
    assert judge.process == 0 and all("control" not in arms for arms in judge.verified)


def test_a_steady_machine_is_warm_after_two_pairs() -> None:
    made, _ = scheduled(arms(20.0, 20.0))
    assert (made.warm_up_batches, made.steady) == (2, True)


def test_warming_up_goes_on_until_two_in_a_row_agree() -> None:
    """Each batch is faster than the one before, by less and less."""
    _, judge = scheduled(arms(20.0, 20.0), calls=(10, 100))
    before = len(judge.batches) - 4
    made, _ = scheduled(arms(20.0, 20.0), calls=(10, 100), slower=lambda n: 1 + 0.5 * 0.6 ** max(0, n - before))
    assert made.steady and 2 < made.warm_up_batches < WARM_UP_BATCHES


@pytest.mark.parametrize(("device", "steady"), [("cpu", True), ("cuda", False)])
def test_a_machine_that_never_settles_is_measured_and_the_record_says_so(device: str, steady: bool) -> None:
    """Every second pair is 3 % slower, which is more than a GPU may differ by and less than a CPU."""
    assert STEADY["cuda"] < 0.03 < STEADY["cpu"]
    made, _ = scheduled(arms(20.0, 20.0), device=device, calls=(10, 500), slower=lambda n: 1 + 0.03 * (n // 2 % 2))
    assert (made.steady, made.warm_up_batches) == (steady, 2 if steady else WARM_UP_BATCHES)


# Live


def calls_of(server: ForkServer, folder: Path, **knobs: Any) -> dict[str, list[int]]:
    wanted = Measure(processes=1, control=False, rounds=1, min_rounds=1, verify_seconds=0.002, **knobs)
    return tried(case(folder, SPINS, n=64, measure=wanted, protections=LENIENT), server, folder)["clock"]["calls"]


def test_calls_are_calibrated_to_the_length_of_a_batch(server: ForkServer, tmp_path: Path) -> None:
    """The baseline takes 1 ms and the candidate 0.5: so near to the factor of 2 that they may share their calls or not."""
    calls = calls_of(server, tmp_path, batch_ms=10.0)
    assert 5 <= calls["baseline"][1] <= 12 and calls["baseline"][1] <= calls["candidate"][1] <= 24
    assert all(short == max(1, long // 5) for short, long in calls.values())


def test_a_live_call_longer_than_a_batch_is_still_called_twice(server: ForkServer, tmp_path: Path) -> None:
    assert calls_of(server, tmp_path, batch_ms=0.1) == {"baseline": [1, 2], "candidate": [1, 2]}
