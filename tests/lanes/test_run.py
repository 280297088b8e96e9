"""Two CPU lanes through the real command line: records, faults, Ctrl-C, kill -9, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, case, lives
from sweeps import lines, sizes_of

from aisp_runner import record, verify_record
from aisp_runner.case import Plan
from aisp_runner.host import children, descendants
from aisp_runner.plan_file import save_plan
from aisp_runner.record_file import standing

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two lanes need two cores")
LANES = ["--cpu-lanes", "2", "--lane-cores", "1", "--progress", "json"]
SIZES = [2048, 4096, 8192, 16384]
SLOW = HONEST + "\ntime.sleep(0.3)  # a case takes long enough to be met in the middle\n"


def planned(folder: Path, code: str = HONEST) -> Path:
    path = folder / "plan.json"
    save_plan(Plan(tuple(case(folder, code, n=n) for n in SIZES)), path)
    return path


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The run of FOLDER/plan.json in FOLDER/run, or what `words` say."""
    given = words or (str(folder / "plan.json"), "--run-dir", str(folder / "run"))
    command = [sys.executable, "-m", "aisp_runner.execute", *given, *LANES]
    env = os.environ | {"AISP_QUARANTINE": str(folder / "quarantine.yaml")}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[dict[str, Any]]]:
    """(exit code, what people were told, the lines of progress)."""
    told, errors = process.communicate(timeout=120)
    progress = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert [bad for line in progress for bad in record.complaints(line, "progress")] == []
    return process.returncode, told + errors, progress


def until(process: subprocess.Popen[str], met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Reads progress until a line is met."""
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith("{") and met(line := json.loads(text)):
            return dict(line)
    raise AssertionError("the run ended before")


def gone(pids: set[int]) -> bool:
    end = time.monotonic() + 10
    while any(map(lives, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(lives, pids))


def agrees(run_dir: Path) -> bool:
    return verify_record.verify(run_dir).exit_code == 0


def test_two_lanes_write_one_file_of_whole_records(tmp_path: Path) -> None:
    planned(tmp_path)
    code, told, progress = ended(started(tmp_path))
    assert code == 0, told
    records = lines(tmp_path / "run")
    assert sorted(sizes_of(records)) == SIZES and agrees(tmp_path / "run")
    cores = {r["lane"]["number"]: r["lane"]["cores"] for r in records}
    assert set(cores) == {1, 2} and not set(cores[1]) & set(cores[2]) and all(r["lane"]["gpu"] is None for r in records)
    end = progress[-1]
    assert end["event"] == "end" and end["exit_code"] == 0 and end["left"] == 0
    assert sum(lane["done"] for lane in end["lanes"]) == 4 and {lane["state"] for lane in end["lanes"]} == {"ended"}
    assert {line["case"]["lane"] for line in progress if line["event"] == "case_end"} == {1, 2}
    assert "lane 2: " in told and "A lane of one core: the judge and the workers share it" in told


def test_a_killed_lane_costs_its_case_and_the_rest_is_run(tmp_path: Path) -> None:
    planned(tmp_path, SLOW)
    process = started(tmp_path)
    until(process, lambda line: line["event"] == "case_end")
    lane = min(children(process.pid))
    below = descendants(lane)
    os.kill(lane, signal.SIGKILL)
    code, told, _ = ended(process)
    assert code == 0 and "its process ended (SIGKILL)" in told
    records = lines(tmp_path / "run")
    assert sorted(sizes_of(records)) == SIZES and agrees(tmp_path / "run") and gone(below)
    lost = [r for r in records if "LaneError" in r["reasons"]]
    assert len(lost) <= 1, "none where the lane was between two cases"
    assert all("nothing is said of the candidate" in r["message"] for r in lost)


def test_a_killed_run_leaves_no_process_and_goes_on_where_it_was(tmp_path: Path) -> None:
    planned(tmp_path, SLOW)
    process = started(tmp_path)
    until(process, lambda line: line["event"] == "case_end")
    below = descendants(process.pid)
    process.kill()
    process.communicate()
    assert len(below) >= 4 and gone(below)
    before = lines(tmp_path / "run")
    code, told, _ = ended(started(tmp_path, "--resume", str(tmp_path / "run")))
    assert code == 0 and f"{len(before)} of 4 cases have a record that stands; {4 - len(before)} are run." in told
    records = lines(tmp_path / "run")
    assert records[: len(before)] == before and sorted(sizes_of(standing(records))) == SIZES and agrees(tmp_path / "run")


def test_ctrl_c_prints_the_table_of_what_there_is(tmp_path: Path) -> None:
    planned(tmp_path, SLOW)
    process = started(tmp_path)
    until(process, lambda line: line["event"] == "case_end")
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    code, told, progress = ended(process)
    assert code == 130 and gone(below)
    assert "Interrupted with" in told and "workload" in told and progress[-1]["exit_code"] is None
    records = lines(tmp_path / "run")
    assert 1 <= len(records) < 4 and all(r["status"] != "ERROR" for r in records), "what was cut short has no record"
    code, _, _ = ended(started(tmp_path, "--resume", str(tmp_path / "run")))
    assert code == 0 and sorted(sizes_of(lines(tmp_path / "run"))) == SIZES


def test_two_cores_are_one_lane_unless_one_core_is_said_to_do(tmp_path: Path) -> None:
    planned(tmp_path)
    command = [sys.executable, "-m", "aisp_runner.execute", "plan.json", "--run-dir", "run", "--cpu-lanes", "64"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    cores = len(os.sched_getaffinity(0))
    assert f"{cores // 2} CPU lane" in done.stdout and f"instead of 64: there are {cores} cores" in done.stdout
    assert sorted(sizes_of(lines(tmp_path / "run"))) == SIZES
