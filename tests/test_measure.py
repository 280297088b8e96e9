"""Rounds: their order, when they end, which of them count; live on the CPU, with clocks and gates made up where it has none."""

from __future__ import annotations

import collections
import itertools
from pathlib import Path
from typing import Any

import pytest
from bench import bench_of, case, tried, tried_on
from gated import FEW, LENIENT, SPINS, gated, stamps

from aisp_runner import record
from aisp_runner.arm import ArmTimeout, CannotCapture
from aisp_runner.case import Measure, Plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.intervals import centre
from aisp_runner.judge import ARMS, Batch, Judge
from aisp_runner.measure import unseen
from aisp_runner.state import GpuReading, GpuState
from aisp_runner.statistics import Calls, Estimate, Interval, Round, estimate, mean_interval, median, student

pytest_plugins = ("shared_server",)

ROLES = ("baseline", "candidate", "control")
SETS, ROUNDS = 2, 4


def measured(server: ForkServer, folder: Path, **knobs: Any) -> dict[str, Any]:
    wanted = Measure(**({"processes": 1, "control": False, "verify_seconds": 0.002} | knobs))
    return tried(case(folder, SPINS, n=64, measure=wanted, protections=LENIENT), server, folder)


@pytest.fixture(scope="module")
def made(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A record of four rounds in two sets of processes with a control."""
    knobs: dict[str, Any] = {"processes": SETS, "control": True, "rounds": ROUNDS, "half_width": 0.0, "calls": (2, 6)}
    return measured(server, tmp_path_factory.mktemp("case"), seconds=60.0, **knobs)


def timed(made: dict[str, Any]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Samples by set and round, in the order they were taken."""
    rounds: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for s in made["samples"]:
        if s["purpose"] == "round":
            rounds.setdefault((s["process"], s["round"]), []).append(s)
    return rounds


def long(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [s for s in samples if s["calls"] == 6]


def estimated(made: dict[str, Any]) -> Estimate:
    """The estimator's answer to the record's samples."""
    rounds = []
    for (process, _), samples in timed(made).items():
        ns = {(s["arm"], s["calls"]): [] for s in samples}
        for s in samples:
            ns[s["arm"], s["calls"]].append(float(s["done_ns"] - s["issued_ns"]))
        short = {arm: ns[arm, 2][0] for arm in ARMS if (arm, 2) in ns}
        rounds.append(Round(process, ns["baseline", 0][0], short, {role: tuple(ns[role, 6]) for role in ROLES}))
    return estimate(rounds, Calls((2, 6), (2, 6)))


# What a record of several sets holds


def test_a_candidate_of_half_the_time_is_twice_as_fast(made: dict[str, Any]) -> None:
    assert made["speedup"] is not None, made["message"]
    assert 1.5 < made["speedup"]["value"] < 2.5
    assert made["speedup"]["low"] <= made["speedup"]["value"] <= made["speedup"]["high"]
    assert 800 < made["clock"]["baseline_us"] < 1800 and 400 < made["clock"]["candidate_us"] < 1200


def test_the_interval_is_students_over_the_sets_of_processes(made: dict[str, Any]) -> None:
    e = estimated(made)
    centres = [centre(values) for values in e.by_process]
    interval = mean_interval(centres).exp()
    assert [made["speedup"][key] for key in ("value", "low", "high")] == pytest.approx(
        [interval.value, interval.low, interval.high], rel=1e-9
    )
    half = student(0.975, 1) * abs(centres[0] - centres[1]) / 2
    assert interval.high / interval.value == pytest.approx(2.718281828459045**half)
    assert made["speedup"]["processes"] == SETS == made["clock"]["processes"] == len(e.by_process)
    assert made["speedup"]["mde"] == pytest.approx(e.mde) and made["speedup"]["confidence"] == 0.95


def test_the_control_is_the_baseline_against_itself_and_gives_the_noise_floor(made: dict[str, Any]) -> None:
    e = estimated(made)
    assert e.control is not None and made["control"] == pytest.approx(vars(e.control))
    assert 0.6 < made["control"]["value"] < 1.6 and made["control"]["low"] <= made["control"]["value"]
    assert made["speedup"]["floor"] == pytest.approx(e.floor) and e.floor > 0
    assert 800 < made["clock"]["control_us"] < 1800


def test_one_set_without_a_control_has_neither_floor_nor_detectable_effect(server: ForkServer, tmp_path: Path) -> None:
    made = measured(server, tmp_path, rounds=2, half_width=10.0, calls=(1, 4))
    assert made["speedup"] is not None, made["message"]
    assert made["control"] is None and made["clock"]["control_us"] is None
    assert (made["speedup"]["floor"], made["speedup"]["mde"], made["speedup"]["processes"]) == (0.0, None, 1)


def test_the_record_bears_itself_out(made: dict[str, Any]) -> None:
    record.validate(made)
    assert record.recompute(made) == []


def test_a_round_is_an_empty_batch_two_long_ones_of_each_role_and_short_ones_in_the_first_set(made: dict[str, Any]) -> None:
    rounds = timed(made)
    assert sorted(rounds) == list(itertools.product(range(SETS), range(ROUNDS)))
    assert made["clock"]["rounds"] == SETS * ROUNDS and made["clock"]["dropped"] == 0
    for (process, _), samples in rounds.items():
        kinds = collections.Counter((s["arm"], s["calls"]) for s in samples)
        short = {("baseline", 2): 1, ("candidate", 2): 1} if process == 0 else {}
        assert kinds == {("baseline", 0): 1, **{(role, 6): 2 for role in ROLES}, **short}
        assert (samples[0]["arm"], samples[0]["calls"]) == ("baseline", 0)


TURNS = (("baseline", "candidate", "control"), ("candidate", "control", "baseline"), ("control", "baseline", "candidate"))


def test_the_long_batches_of_a_round_are_a_palindrome_that_turns_with_the_round_and_with_the_set(made: dict[str, Any]) -> None:
    for (process, number), samples in timed(made).items():
        half = TURNS[(process + number) % 3]
        assert tuple(s["arm"] for s in long(samples)) == half + half[::-1]


def test_sets_take_turns_round_by_round(made: dict[str, Any]) -> None:
    turns = [s["process"] for s in made["samples"] if s["purpose"] == "round" and s["calls"] == 0]
    assert turns == list(range(SETS)) * ROUNDS


def test_each_half_of_a_palindrome_runs_on_one_seed_and_no_two_on_the_same(made: dict[str, Any]) -> None:
    seen: list[int] = []
    for samples in timed(made).values():
        halves = [long(samples)[:3], long(samples)[3:], [s for s in samples if s["calls"] == 2]]
        for half in filter(None, halves):
            (seed,) = {s["seed"] for s in half}
            seen.append(seed)
    assert len(seen) == len(set(seen)) == ROUNDS * (3 + 2 * (SETS - 1))


def test_batches_do_not_overlap(made: dict[str, Any]) -> None:
    times = [(s["issued_ns"], s["done_ns"]) for s in made["samples"]]
    assert times == sorted(times)
    assert all(done <= issued for (_, done), (issued, _) in itertools.pairwise(times))


def test_warming_up_is_in_the_samples_and_not_in_a_round(made: dict[str, Any]) -> None:
    warm = [s for s in made["samples"] if s["purpose"] == "warm_up"]
    assert {s["round"] for s in warm} == {-1}
    visited = {(s["process"], s["arm"]) for s in warm if s["calls"] >= 6}
    assert visited == set(itertools.product(range(SETS), ROLES)), "every slot that is timed was visited by every worker"


def test_calls_that_were_asked_for_are_used(made: dict[str, Any]) -> None:
    assert made["clock"]["calls"] == {"baseline": [2, 6], "candidate": [2, 6]}
    assert made["clock"]["mode"] == "shared_memory" and made["clock"]["why_not_gated"] == ""


# When measuring ends


@pytest.mark.parametrize(
    ("knobs", "rounds"),
    [
        ({"rounds": 3, "min_rounds": 2, "half_width": 0.0}, 3),
        ({"rounds": 12, "min_rounds": 6, "half_width": 10.0}, 6),
        ({"rounds": 12, "min_rounds": 2, "half_width": 0.0, "seconds": 0.0}, 2),
        ({"rounds": 12, "min_rounds": 8, "half_width": 10.0, "seconds": 0.0}, 8),
    ],
    ids=["rounds", "narrow enough", "time is up", "at least so many"],
)
def test_measuring_ends_when(server: ForkServer, tmp_path: Path, knobs: dict[str, Any], rounds: int) -> None:
    assert len(timed(measured(server, tmp_path, calls=(1, 2), **knobs))) == rounds


def test_measuring_ends_early_once_a_protection_has_refused(server: ForkServer, tmp_path: Path) -> None:
    code = SPINS.replace("out=c)", "out=c); c[0] += 1", 1)
    wanted = Measure(processes=1, control=False, rounds=12, min_rounds=4, half_width=0.0, calls=(1, 2), seconds=60.0)
    made = tried(case(tmp_path, code, n=64, measure=wanted), server, tmp_path)
    assert made["status"] == "INVALID" and len(timed(made)) == 4


# Rounds whose arms ran at different clocks


class Clocks(GpuState):
    """A GPU whose clock is what a test says, batch by batch, and 1980 MHz from then on."""

    def __init__(self, *mhz: int | None, then: int | None = 1980) -> None:
        self.missing: dict[str, str] = {}
        self.mhz = itertools.chain(mhz, itertools.repeat(then))

    def watch(self, gpus: int) -> None:
        """There is one."""

    def clock_mhz(self) -> int | None:
        return next(self.mhz)

    def read(self) -> GpuReading:
        return GpuReading(1980, 2619, 400.0, 50, (), 0)

    def close(self) -> None: ...


BY_PLACE = (1980, 1500, 1500, 1980, 1980, 1500)
"""Baseline, candidate, candidate, baseline and the two short ones: the candidate is at a lower clock."""


def at_clocks(server: ForkServer, folder: Path, state: Clocks, **knobs: Any) -> dict[str, Any]:
    wanted = Measure(processes=1, control=False, half_width=10.0, calls=(1, 4), verify_seconds=0.002, **knobs)
    given = case(folder, SPINS, n=64, measure=wanted, protections=LENIENT)
    bench = bench_of(Plan((given,)), folder, server)
    bench.pool.states["cpu"] = state
    return tried_on(bench, given)


def seen(made: dict[str, Any], protection: str) -> dict[str, Any]:
    (found,) = [e for e in made["evidence"] if e["protection"] == protection]
    return found


def test_a_round_whose_arms_ran_at_different_clocks_is_dropped_counted_and_repeated(server: ForkServer, tmp_path: Path) -> None:
    made = at_clocks(server, tmp_path, Clocks(*BY_PLACE), rounds=2)
    dropped = [s for s in made["samples"] if s["purpose"] == "dropped"]
    assert [(s["round"], s["clock_mhz"]) for s in dropped] == [(0, None), *((0, mhz) for mhz in BY_PLACE)]
    assert sorted(timed(made)) == [(0, 0), (0, 1)] and all(len(samples) == 7 for samples in timed(made).values())
    assert (made["clock"]["dropped"], made["clock"]["rounds"]) == (1, 2)
    whole = seen(made, "statistical.whole_sample")
    assert whole["status"] == "pass" and "14 samples of 21 batches issued" in whole["observed"], whole["observed"]
    record.validate(made)
    assert record.recompute(made) == []


def test_a_round_whose_end_the_judge_did_not_see_is_dropped_and_repeated(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third batch of the first round ends while the judge waits for a core: of a millisecond it saw half."""
    original, ran = Judge.run, itertools.count()

    def run(judge: Judge, *given: Any) -> Batch:
        batch = original(judge, *given)
        if batch.purpose == "round":
            batch.unseen_ns = batch.elapsed_ns // (2 if next(ran) == 2 else 1000)
        return batch

    monkeypatch.setattr(Judge, "run", run)
    made = measured(server, tmp_path, calls=(1, 4), rounds=2, half_width=0.0, seconds=60.0)
    assert (made["clock"]["dropped"], made["clock"]["rounds"]) == (1, 2)
    dropped = [s["unseen_ns"] / (s["done_ns"] - s["issued_ns"]) for s in made["samples"] if s["purpose"] == "dropped"]
    assert [share > 0.4 for share in dropped] == [False, False, True, False, False, False, False]
    assert record.recompute(made) == []


@pytest.mark.parametrize(
    ("elapsed_us", "unseen_us", "kept"),
    [(100, 4.9, True), (100, 5.1, False), (10_000, 29, True), (10_000, 31, False), (100, None, True)],
)
def test_how_much_of_a_batch_a_judge_may_miss(elapsed_us: int, unseen_us: float | None, kept: bool) -> None:
    batch = Batch(1, "round", 0, "candidate", (0,), "graph", done_ns=elapsed_us * 1000)
    batch.unseen_ns = None if unseen_us is None else int(unseen_us * 1000)
    assert unseen(batch) is not kept


def test_what_a_judge_misses_of_every_batch_drops_none(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an H200 whose host took 9 us to come back from a wait: eight rounds of eight were dropped in every case."""
    original = Judge.run

    def run(judge: Judge, *given: Any) -> Batch:
        batch = original(judge, *given)
        batch.unseen_ns = 200_000 + batch.sequence % 7 * 100
        return batch

    monkeypatch.setattr(Judge, "run", run)
    made = measured(server, tmp_path, calls=(1, 4), rounds=2, half_width=0.0, seconds=60.0)
    assert (made["clock"]["dropped"], made["clock"]["rounds"]) == (0, 2)


def test_no_more_rounds_are_dropped_than_were_wanted(server: ForkServer, tmp_path: Path) -> None:
    made = at_clocks(server, tmp_path, Clocks(*BY_PLACE * 4), rounds=2)
    assert (made["clock"]["dropped"], made["clock"]["rounds"]) == (2, 2)
    assert {s["clock_mhz"] for s in made["samples"] if s["purpose"] == "round"} == {None, 1500, 1980}


@pytest.mark.parametrize(
    "mhz",
    [(1980, 1500, None, 1980, 1980, 1500), (1500,) * 6, (1980, 1965, 1965, 1980, 1980, 1965)],
    ids=["not measured", "all low", "within 1 %"],
)
def test_a_round_is_kept_whose_clocks_are(server: ForkServer, tmp_path: Path, mhz: tuple[int | None, ...]) -> None:
    made = at_clocks(server, tmp_path, Clocks(*mhz), rounds=2)
    assert made["clock"]["dropped"] == 0 and not [s for s in made["samples"] if s["purpose"] == "dropped"]


# Gated modes


def purposes(judge: Judge) -> dict[str, int]:
    return collections.Counter(b.purpose for b in judge.batches)


@pytest.mark.parametrize("fault", [ArmTimeout("candidate candidate"), CannotCapture("candidate candidate: no")], ids=type)
def test_a_gated_batch_that_no_longer_fits_makes_the_case_start_over_from_the_hosts_clock(
    server: ForkServer, tmp_path: Path, fault: Exception
) -> None:
    judge, made = gated(server, tmp_path, fits=9, fault=fault)
    assert made.schedule.mode == "wall" and made.schedule.calls == FEW
    assert made.schedule.reason == f"{fault}: a batch that had fitted behind the gate no longer did"
    assert [(b.mode, b.purpose) for b in judge.batches[:9]] == [("gated", "dropped")] * 9
    assert {(b.mode, b.purpose) for b in judge.batches[9:]} == {("wall", "round")}
    assert len(made.rounds) == 2 and len(judge.batches) == 9 + 2 * 7, "nothing else is asked of the host's clock"
    (whole,) = [e for e in judge.shields.evidence if e.protection == "statistical.whole_sample"]
    assert whole.status == "pass" and "9 dropped" in whole.observed


def test_a_call_alone_that_cannot_be_made_ready_has_its_case_timed_by_the_host(server: ForkServer, tmp_path: Path) -> None:
    judge, made = gated(server, tmp_path, fits=14 + 4, knobs={"serial": 3})
    assert made.schedule.mode == "wall" and len(made.rounds) == 2 and not made.serial
    assert purposes(judge) == {"dropped": 14, "serial": 4, "round": 14}
    assert all(e.status == "pass" for e in judge.shields.evidence if e.protection == "statistical.whole_sample")


def test_calls_alone_are_measured_after_the_rounds(server: ForkServer, tmp_path: Path) -> None:
    judge, made = gated(server, tmp_path, knobs={"serial": 3})
    assert purposes(judge) == {"round": 14, "serial": 9}
    assert [b.purpose for b in judge.batches] == ["round"] * 14 + ["serial"] * 9
    assert {b.calls for b in judge.batches if b.purpose == "serial"} == {0, 1}
    assert {arm: len(ns) for arm, ns in made.serial.items()} == {"baseline": 3, "candidate": 3}
    ns = {b.arm: b.elapsed_ns for b in judge.batches[15:17]}
    empty = [b.elapsed_ns for b in judge.batches if not b.calls]
    assert len(empty) == 2 + 3 and made.serial["candidate"][0] == ns["candidate"] - min(empty)
    assert made.unsettled_ns == 2 * (median(empty) - min(empty)) >= 0
    assert made.no_device_clock.startswith("measure.device_clock is off") and made.launch_gap == {}


def test_the_gap_between_launches_is_what_a_stream_takes_longer_than_a_graph(server: ForkServer, tmp_path: Path) -> None:
    judge, made = gated(server, tmp_path, "graph", knobs={"serial": 0})
    gap = [b for b in judge.batches if b.purpose == "gap"]
    assert [b.mode for b in gap] == (["gated"] * 3 + ["graph"] * 3) * 2
    assert set(made.launch_gap) == set(ARMS) and all(abs(ns) < 1e6 for ns in made.launch_gap.values())


def test_a_gap_that_cannot_be_measured_stays_unmeasured(server: ForkServer, tmp_path: Path) -> None:
    _, made = gated(server, tmp_path, "graph", fits=14 + 4, knobs={"serial": 0})
    assert made.launch_gap == {} and made.schedule.mode == "graph" and len(made.rounds) == 2


def test_the_devices_own_time_is_read_in_palindromes_of_the_first_set(server: ForkServer, tmp_path: Path) -> None:
    knobs = {"serial": 0, "device_clock": "cupti", "device_rounds": 2}
    judge, made = gated(server, tmp_path, stamps=staticmethod(stamps), knobs=knobs)
    profiled = [b for b in judge.batches if b.purpose == "device"]
    arms = [b.arm for b in profiled]
    assert {b.mode for b in profiled} == {"profiled"} and arms[:4] == arms[3::-1] and arms[4:] == arms[:3:-1]
    assert len(made.busy) == len(made.span) == 2 and made.kernels == {"baseline": 2.0, "candidate": 1.0}
    busy, span = estimate(made.busy, FEW), estimate(made.span, FEW)
    assert busy.arms_ns == pytest.approx({"baseline": 4e3, "candidate": 2e3}), "a time a call"
    assert busy.speedup == Interval(pytest.approx(2), pytest.approx(2), pytest.approx(2), 0.875)
    assert span.arms_ns == pytest.approx(dict.fromkeys(ARMS, 1e5 / 3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"stamps": staticmethod(lambda batch: {"error": "the profiler saw no kernel"})},
            "baseline: the profiler saw no kernel",
        ),
        ({"stamps": None}, "baseline: no time stamps"),
        ({"fits": 14}, "candidate candidate launches more than fits behind the gate, so no time stamps were taken"),
    ],
    ids=["an error", "nothing", "not ready"],
)
def test_without_time_stamps_the_record_says_why(
    server: ForkServer, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    _, made = gated(server, tmp_path, **changes, knobs={"serial": 0, "device_clock": "cupti", "device_rounds": 2})
    assert made.no_device_clock == said and made.busy == made.span == []
    assert len(made.rounds) == 2 and made.schedule.mode == "gated"
