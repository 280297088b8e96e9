"""A run from a plan to records and an exit code, also where Hydra is missing, and when it is stopped by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, accepted, bench_of, case, lives, tried, tried_on

from aisp_runner import machine, record
from aisp_runner.case import Case, Plan
from aisp_runner.errors import ConfigError
from aisp_runner.execute import main, run_plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.plan import World, plan_of
from aisp_runner.plan_file import load_plan, save_plan
from aisp_runner.protect import registry

pytest_plugins = ("shared_server",)

RAISES = "def candidate(a, b, c):\n    raise ValueError('not today')"
SLOW = HONEST + "    time.sleep(0.05)\n"

WITHOUT_CONFIG = """
    import sys
    class Refuses:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("hydra", "omegaconf", "jsonschema", "yaml", "antlr4"):
                raise ImportError(f"{name} is not installed here")
    sys.meta_path.insert(0, Refuses())
    from aisp_runner.execute import main
    sys.exit(main(sys.argv[1:]))
"""


def started(plan: Plan, folder: Path) -> subprocess.Popen[str]:
    """`python -m aisp_runner.execute`, with nothing there but what a GPU node has; it writes to FOLDER/run."""
    save_plan(plan, folder / "plan.json")
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(WITHOUT_CONFIG),
        str(folder / "plan.json"),
        "--run-dir",
        str(folder / "run"),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)


def records_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "run" / record.FILE
    return record.read(path) if path.exists() else []


def below(pid: int) -> list[int]:
    """All processes that a process started, and those they started."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [found for child in children for found in (child, *below(child))]


def test_a_plan_runs_where_hydra_is_missing_and_gives_the_same_kind_of_record(server: ForkServer, tmp_path: Path) -> None:
    good = case(tmp_path / "good")
    bad = case(tmp_path / "bad", RAISES, phase="gate")
    plan = Plan((bad, good))
    process = started(plan, tmp_path)
    output, _ = process.communicate(timeout=60)
    made = records_of(tmp_path)
    assert [r["status"] == "ERROR" for r in made] == [True, False], output
    assert accepted(made[1]), made[1]["message"]
    assert process.returncode == 3, "the gate failed"
    assert {r["plan_sha256"] for r in made} == {plan.sha256()}
    assert load_plan(tmp_path / "run" / "plan.json") == plan
    here = tried(good, server, tmp_path / "here")
    assert (
        [*here] == [key for key in made[1] if key != "chain"]
        and here["case"] == made[1]["case"]
        and here["sources"] == made[1]["sources"]
    )


def test_ctrl_c_ends_with_130_keeps_what_was_measured_and_leaves_no_process(tmp_path: Path) -> None:
    process = started(Plan((case(tmp_path / "first", RAISES), *(case(tmp_path / "slow", SLOW),) * 3)), tmp_path)
    until = time.monotonic() + 30
    while not records_of(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, "a record is on the disk while the run goes on"
    time.sleep(0.6)
    others = below(process.pid)
    assert others
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert [r["status"] for r in records_of(tmp_path)] == ["ERROR"]
    assert f"Interrupted with 3 cases left. To go on: aisp-run resume={tmp_path / 'run'}" in output
    assert "ERROR: addition / candidate" in output, "the table of what was measured"
    assert not [pid for pid in others if lives(pid)]


def test_a_run_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    process = started(Plan((case(tmp_path / "slow", SLOW),)), tmp_path)
    until = time.monotonic() + 30
    while len(others := below(process.pid)) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(others) == 4, "fork server, oracle, baseline and candidate"
    process.kill()
    process.communicate(timeout=20)
    until = time.monotonic() + 5
    while any(lives(pid) for pid in others) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in others if lives(pid)]


def test_the_next_case_runs_whatever_the_one_before_did(tmp_path: Path) -> None:
    codes = {
        "raises": RAISES,
        "segfaults": "def candidate(a, b, c):\n    import ctypes; ctypes.string_at(0)",
        "exits": "def candidate(a, b, c):\n    os._exit(0)",
        "prints": "def candidate(a, b, c):\n    while True: os.write(1, b'x' * 65536)",
        "wrong": HONEST + "    c[7] = 0\n",
        "honest": HONEST,
    }
    assert run_plan(Plan(tuple(case(tmp_path / name, code) for name, code in codes.items())), tmp_path / "run") == 0
    made = dict(zip(codes, records_of(tmp_path), strict=True))
    assert [made[name]["status"] for name in list(codes)[:4]] == ["ERROR"] * 4
    kinds = [made[name]["reasons"] for name in list(codes)[:4]]
    assert kinds == [["worker.raised"], ["worker.died"], ["worker.died"], ["worker.limit"]]
    assert made["wrong"]["status"] == "INVALID" and "output.tolerance_bound" in made["wrong"]["reasons"]
    assert accepted(made["honest"]), made["honest"]["message"]


def test_a_plan_without_cases_measured_nothing(tmp_path: Path) -> None:
    assert run_plan(Plan(()), tmp_path / "run") == 5


def test_a_gate_without_its_essential_protections_is_refused_before_anything_runs(tmp_path: Path) -> None:
    given = case(tmp_path, phase="gate", protections=registry.select({"mode": "off"}))
    with pytest.raises(ConfigError, match=r"addition: phase gate without .*evaluation\.frozen_plan.* use protect=strict"):
        run_plan(Plan((given,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_protections_is_marked(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, protections=registry.select({"mode": "off"})), server, tmp_path)
    assert made["unprotected"] is True and {e["protection"] for e in made["evidence"] if e["status"] == "pass"} == {
        "output.tolerance_bound"
    }
    assert tried(case(tmp_path), server, tmp_path)["unprotected"] is False


# The plan and the sources are what was reviewed


def tampered(given: Case, server: ForkServer, folder: Path, path: Path, text: str) -> dict[str, Any]:
    """The record of a case before which a file was changed."""
    bench = bench_of(Plan((given,)), folder, server)
    path.write_text(text)
    return tried_on(bench, given)


def test_a_plan_that_changed_on_the_disk_is_refused_before_a_worker_starts(server: ForkServer, tmp_path: Path) -> None:
    given = case(tmp_path)
    save_plan(Plan((dataclasses.replace(given, require="faster"),)), tmp_path / "other.json")
    made = tampered(given, server, tmp_path, tmp_path / "plan.json", (tmp_path / "other.json").read_text())
    assert (made["status"], made["reasons"], made["samples"]) == ("INVALID", ["evaluation.frozen_plan"], [])
    assert made["message"].startswith("plan.json now is plan ")


def test_a_plan_that_was_removed_is_refused(server: ForkServer, tmp_path: Path) -> None:
    bench = bench_of(Plan((case(tmp_path),)), tmp_path, server)
    assert bench.plan_changed() == ""
    (tmp_path / "plan.json").unlink()
    assert "cannot be read" in bench.plan_changed()


def test_a_reference_that_changed_on_the_disk_is_refused(server: ForkServer, tmp_path: Path) -> None:
    given = case(tmp_path)
    made = tampered(given, server, tmp_path, tmp_path / "kernel.py", (tmp_path / "kernel.py").read_text() + "\n# more\n")
    assert (made["status"], made["reasons"]) == ("INVALID", ["evaluation.sealed_judge"])
    assert "kernel.py changed on disk" in made["message"]


# The command line


def test_a_plan_that_was_changed_by_hand_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_plan(Plan((case(tmp_path),)), tmp_path / "plan.json")
    data = json.loads((tmp_path / "plan.json").read_text())
    data["plan"]["cases"][0]["measure"]["margin"] = 0.5
    (tmp_path / "plan.json").write_text(json.dumps(data))
    assert main([str(tmp_path / "plan.json"), "--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("aisp-run: error: ") and "does not match its sha256" in said
    assert not (tmp_path / "run").exists()


def test_a_missing_plan_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_plan_that_needs_a_gpu_is_refused_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ([], "NVML does not start"))
    world = World(({"name": "NVIDIA H200", "capability": "9.0", "memory_bytes": 1 << 37},), "", 16)
    plan = plan_of(["+workload=ch06_vector_add", "device=cuda"], world=world)
    with pytest.raises(ConfigError, match=r"run on cuda, and no CUDA GPU is visible: NVML does not start\. Run it on"):
        run_plan(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()
