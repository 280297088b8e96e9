"""What becomes of a case: times of its stages, its fault, and its record."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from bench import HONEST, bench_of, case, tried

from aisp_runner import record
from aisp_runner.case import Plan
from aisp_runner.errors import BuildError, ConfigError, DeviceError, WorkerFault
from aisp_runner.forkserver import ForkServer
from aisp_runner.protect.base import Evidence
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


def test_samples_are_counted_from_the_start_of_the_case(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path), server, tmp_path)
    assert all(0 < s["issued_ns"] < s["done_ns"] <= s["drained_ns"] for s in made["samples"])
    assert made["samples"][-1]["done_ns"] < made["stages_s"]["total"] * 1e9
