"""What becomes of a case: times of its stages, its fault, and its record."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bench import HONEST, bench_of, case, tried
from protect.batches import batch

from aisp_runner import record
from aisp_runner.arm import ArmTimeout, CannotCapture
from aisp_runner.calibrate import Schedule
from aisp_runner.case import Plan
from aisp_runner.errors import BuildError, ConfigError, DeviceError, WorkerFault
from aisp_runner.forkserver import ForkServer
from aisp_runner.measure import Measurement
from aisp_runner.protect.base import Evidence
from aisp_runner.statistics import Calls, Round
from aisp_runner.trial import Trial

pytest_plugins = ("shared_server",)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(case(tmp_path))


def test_seconds_of_a_stage_add_up_also_when_it_raises(trial: Trial) -> None:
    with trial.stage("start"):
        time.sleep(0.02)
    with pytest.raises(ValueError, match="stop"), trial.stage("start"):
        time.sleep(0.02)
        raise ValueError("stop")
    assert 0.04 <= trial.stages_s["start"] < 1


@pytest.mark.parametrize("fault", [WorkerFault("candidate", "died", "x"), BuildError("x"), DeviceError("x"), ConfigError("x")])
def test_what_this_package_can_explain_is_kept_as_the_fault(trial: Trial, fault: Exception) -> None:
    with trial.catching():
        raise fault
    assert trial.fault is fault


def test_full_device_memory_is_explained(trial: Trial) -> None:
    with trial.catching():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
    assert isinstance(trial.fault, DeviceError)
    assert str(trial.fault) == "the judge's buffers do not fit in device memory: CUDA out of memory. Tried to allocate 2 GiB"


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_anything_else_goes_on(trial: Trial, error: BaseException) -> None:
    with pytest.raises(type(error)), trial.catching():
        raise error
    assert trial.fault is None


@pytest.mark.parametrize(("status", "refused"), [("fail", True), ("error", True), ("pass", False), ("unavailable", False)])
def test_a_case_is_refused_by_a_failure_or_a_broken_protection(trial: Trial, status: str, refused: bool) -> None:
    trial.shields.evidence.append(Evidence("output.tolerance_bound", "preflight", "judge", status, "", ""))
    assert trial.refused() is refused


def test_a_case_that_never_started_has_a_record(trial: Trial, tmp_path: Path) -> None:
    trial.fault = BuildError("fast.cu: nvcc refused it")
    made = trial.record(bench_of(Plan((trial.case,)), tmp_path))
    assert (made["status"], made["reasons"], made["message"]) == ("ERROR", ["BuildError"], "fast.cu: nvcc refused it")
    assert made["samples"] == [] and made["clock"] is made["speedup"] is made["roofline"] is made["outcome"] is None
    assert made["errors"] == {} and made["stages_s"]["total"] > 0


@pytest.mark.parametrize("code", [HONEST, HONEST + "    c[5] = 0\n", "def candidate(a, b, c): raise ValueError"])
def test_a_record_agrees_with_the_schema_and_with_itself(server: ForkServer, tmp_path: Path, code: str) -> None:
    given = case(tmp_path, code, work_bytes=12.0 * 16384, work_flops=16384.0)
    made = tried(given, server, tmp_path)
    record.validate(made)
    assert record.recompute(made) == []
    assert made["sources"][f"{given.baseline.source.path}::kernel.py"] == given.baseline.source.sha256["kernel.py"]
    assert made["machine"] and made["plan_sha256"] == Plan((given,)).sha256()
    assert set(made["stages_s"]) >= {"start", "calibrate", "total"}
    if made["status"] == "VALID":
        seconds = made["clock"]["candidate_us"] / 1e6
        assert made["roofline"]["bytes_per_s"] == pytest.approx(12 * 16384 / seconds)
        assert made["roofline"]["flops_per_s"] == pytest.approx(16384 / seconds)


def test_errors_are_the_candidates_own_over_all_checked_calls(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, HONEST + "    c[5] += 0.25\n"), server, tmp_path)
    errors = made["errors"]["c"]
    assert errors["max_abs"] == pytest.approx(0.25, abs=1e-5)
    assert 0 < errors["outputs_checked"] <= errors["outputs_total"]
    assert errors["outputs_total"] == sum(s["calls"] for s in made["samples"] if s["arm"] == "candidate")


def test_a_record_on_a_cpu_tells_the_machines_state_and_has_no_device_clock(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path), server, tmp_path)
    assert made["state"]["readings"] == 2, "one a round"
    assert made["state"]["load"]["min"] >= 0 and isinstance(made["state"]["missing"], dict)
    assert made["device_clock"] is None and made["control"] is None
    assert made["clock"]["residual_gain"] == {"head_start": 0.0, "early_done": 0.0, "total": 0.0}, "its workers are stopped"
    assert made["clock"]["serial_us"] is made["clock"]["launch_gap_us"] is None
    assert {(s["mode"], s["device"], s["clock_mhz"]) for s in made["samples"]} == {("wall", None, None)}
    assert made["format"] == 2


@pytest.mark.parametrize(
    ("revealed_us", "snapped_us", "gain"),
    [
        (0, 1000, (0.0, 0.0, 0.0)),
        (-50, 1030, (0.05, 0.03, 0.08)),
        (-800, 3000, (0.8, 1.0, 1.0)),
        (-5000, 1000, (1.0, 0.0, 1.0)),
    ],
)
def test_what_a_candidate_on_a_gpu_could_hide_is_a_share_of_its_long_batches(
    trial: Trial, revealed_us: int, snapped_us: int, gain: tuple[float, ...]
) -> None:
    """Long batches of 1 ms; the short one and those of other purposes do not matter."""
    us = {"issued_ns": 0, "done_ns": 1000, "revealed_ns": revealed_us, "snapped_ns": snapped_us}
    long = {key: 1000 * value for key, value in us.items()}
    wild = long | {"revealed_ns": -(10**12)}
    batches = [batch(calls=20, **long) for _ in range(3)] + [batch(calls=4, **wild), batch(calls=20, purpose="gap", **wild)]
    trial.case = dataclasses.replace(trial.case, device="cuda")
    trial.judge = SimpleNamespace(batches=batches)  # type: ignore[assignment]
    said = trial._residual_gain()
    assert (
        said is not None and tuple(said.values()) == pytest.approx(gain) and list(said) == ["head_start", "early_done", "total"]
    )


def on_a_gpu(trial: Trial, made: Measurement) -> None:
    """Makes a trial one that has measured this in graph mode."""
    trial.case = dataclasses.replace(trial.case, device="cuda")
    nothing = SimpleNamespace(batches=[], comparisons=[], state_summary=lambda: None)
    trial.judge, trial.measured = nothing, made  # type: ignore[assignment]


def seven_rounds(candidate_us: float) -> list[Round]:
    """Of a baseline and a control of 10 us a call and a candidate of so many, behind a handshake of 20 us."""
    us = {"baseline": 10.0, "candidate": candidate_us, "control": 10.0}
    long = {arm: ((20 + 50 * each) * 1e3,) * 2 for arm, each in us.items()}
    return [Round(process, 20e3, {"baseline": 120e3, "candidate": 70e3}, long) for process in (0, 0, 0, 1, 1, 1, 2)]


def test_a_record_on_a_gpu_tells_every_clock_that_looked(trial: Trial, tmp_path: Path) -> None:
    made = Measurement(Schedule(Calls((10, 50), (10, 50)), "graph", "", 3, False), seven_rounds(5.0), dropped=2)
    made.serial = {"baseline": [11e3, 12e3, 90e3], "candidate": [6e3, 6e3, 7e3]}
    made.launch_gap = {"baseline": 800.0, "candidate": 900.0}
    made.busy = [Round(0, 0.0, {}, {arm: (ns, ns) for arm, ns in (("baseline", 450e3), ("candidate", 225e3))})] * 2
    made.span = [Round(0, 0.0, {}, {arm: (ns, ns) for arm, ns in (("baseline", 500e3), ("candidate", 250e3))})] * 2
    made.kernels = {"baseline": 2.0, "candidate": 1.0}
    on_a_gpu(trial, made)
    told = trial.record(bench_of(Plan((trial.case,)), tmp_path))
    record.validate(told)
    clock = told["clock"]
    assert (clock["mode"], clock["rounds"], clock["processes"], clock["dropped"]) == ("graph", 7, 3, 2)
    assert clock["serial_us"] == {"baseline": 12.0, "candidate": 6.0} and clock["warm_up"] == {"batches": 3, "steady": False}
    assert clock["launch_gap_us"] == {"baseline": pytest.approx(0.8), "candidate": pytest.approx(0.9)}
    assert (clock["control_us"], clock["handshake_us"], clock["naive_speedup"]) == pytest.approx((10.0, 20.0, 2.0))
    assert told["control"]["value"] == pytest.approx(1) and told["speedup"]["floor"] == pytest.approx(0, abs=1e-9)
    device = told["device_clock"]
    assert device["kernels"] == {"baseline": 2.0, "candidate": 1.0}
    assert device["busy_us"] == pytest.approx({"baseline": 9.0, "candidate": 4.5})
    assert device["span_us"] == pytest.approx({"baseline": 10.0, "candidate": 5.0})
    assert device["busy_speedup"]["value"] == pytest.approx(2) == device["span_speedup"]["value"]


def test_a_record_without_time_stamps_says_why(trial: Trial, tmp_path: Path) -> None:
    made = Measurement(Schedule(Calls((10, 50), (10, 50)), "graph"), seven_rounds(5.0), no_device_clock="nobody read them")
    on_a_gpu(trial, made)
    told = trial.record(bench_of(Plan((trial.case,)), tmp_path))
    record.validate(told)
    assert told["device_clock"] == {"kind": trial.case.measure.device_clock, "missing": "nobody read them"}


@pytest.mark.parametrize(("candidate_us", "outcome"), [(5.0, "FASTER"), (10.0, "SAME"), (20.0, "SLOWER")])
def test_the_outcome_follows_from_interval_margin_and_floor(
    trial: Trial, tmp_path: Path, candidate_us: float, outcome: str
) -> None:
    on_a_gpu(trial, Measurement(Schedule(Calls((10, 50), (10, 50)), "graph"), seven_rounds(candidate_us)))
    assert trial.record(bench_of(Plan((trial.case,)), tmp_path))["outcome"] == outcome


def test_a_noisy_control_leaves_the_outcome_open(trial: Trial, tmp_path: Path) -> None:
    """The baseline differs by 30 % from itself, so 25 % are nothing to be sure of."""
    made = Measurement(Schedule(Calls((10, 50), (10, 50)), "graph"), seven_rounds(8.0))
    for i, r in enumerate(made.rounds):
        odd = tuple(ns * (1.0, 1.3, 0.7)[r.process] for ns in r.long_ns["control"])
        made.rounds[i] = dataclasses.replace(r, long_ns={**r.long_ns, "control": odd})
    on_a_gpu(trial, made)
    told = trial.record(bench_of(Plan((trial.case,)), tmp_path))
    assert told["speedup"]["low"] > 1.2 and told["speedup"]["floor"] > 0.3 and told["outcome"] == "UNDECIDED"


def test_samples_are_counted_from_the_start_of_the_case(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path), server, tmp_path)
    assert all(0 < s["issued_ns"] < s["done_ns"] <= s["drained_ns"] for s in made["samples"])
    assert made["samples"][-1]["done_ns"] < made["stages_s"]["total"] * 1e9


@pytest.mark.parametrize(
    "stuck", [ArmTimeout("candidate fast"), CannotCapture("candidate fast: no")], ids=lambda e: type(e).__name__
)
def test_a_batch_that_is_ready_at_one_time_and_not_at_another_ends_its_case_and_not_the_run(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: Exception
) -> None:
    def unsteady(*_: object) -> None:
        raise stuck

    monkeypatch.setattr("aisp_runner.measure.measure", unsteady)
    made = tried(case(tmp_path), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.hung"])
    assert made["message"] == f"{stuck}: a batch that had fitted behind the gate could not be made ready again"


def test_a_record_that_time_stamps_decided_says_so_and_has_their_numbers(trial: Trial, tmp_path: Path) -> None:
    made = Measurement(Schedule(Calls((10, 50), (10, 50)), "graph"), seven_rounds(9.0), why_device="somebody is there")
    us = {"baseline": 8.0, "candidate": 4.0, "control": 8.0}
    made.stamped = [Round(p, 0.0, {}, {arm: (1e3 * each,) * 2 for arm, each in us.items()}) for p in (0, 1, 0, 1)]
    on_a_gpu(trial, made)
    trial.case = dataclasses.replace(trial.case, work_bytes=4e6)
    told = trial.record(bench_of(Plan((trial.case,)), tmp_path))
    record.validate(told)
    clock = told["clock"]
    assert (clock["source"], clock["why_device"], clock["processes"]) == ("device", "somebody is there", 2)
    assert (clock["baseline_us"], clock["candidate_us"], clock["control_us"]) == pytest.approx((8.0, 4.0, 8.0))
    assert told["speedup"]["value"] == pytest.approx(2) and told["roofline"]["bytes_per_s"] == pytest.approx(1e12)
    assert clock["handshake_us"] == 20.0 and told["status"] == "VALID"
