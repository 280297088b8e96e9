"""Chaos: a short one for real, and that it would notice what it is there for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import record
from aisp_runner.dev import chaos
from aisp_runner.report import Console

RUNS = 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("chaos") / "chaos.json"
    told = io.StringIO()
    found = chaos.go(RUNS, 11, Console(told), out)
    assert json.loads(out.read_text()) == json.loads(json.dumps(found))
    return found | {"told": told.getvalue()}


@pytest.mark.slow
def test_runs_that_are_killed_lose_repeat_and_spoil_nothing(made: dict[str, Any]) -> None:
    assert made["sound"] == made["runs"] >= made["runs_with_a_kill"], made["told"]
    wrong = ("lost", "duplicated", "corrupt", "chain_broken", "left_running", "unexplained")
    assert {key: made[key] for key in wrong} == dict.fromkeys(wrong, 0), made["findings"]
    assert made["runs_with_a_kill"] == RUNS <= made["kills"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of the plan, with records made by hand."""
    from records import valid_record

    plan = chaos.plan(tmp_path)
    chaos.save_plan(plan, tmp_path / "run" / "plan.json")
    for case in plan.cases:
        where = {"axes": dict(case.axes), "device": "cpu", "held_out": False}
        of = {"workload": case.workload, "variant": "candidate", "baseline": "baseline", "case": where}
        record.append(tmp_path / "run" / record.FILE, valid_record(**of, plan_sha256=plan.sha256()))
    return tmp_path / "run"


def judged(run_dir: Path) -> chaos.Told:
    told = chaos.Told()
    chaos._judge(run_dir, chaos.plan(run_dir.parent), told)
    return told


def counts(told: chaos.Told) -> tuple[int, int, int]:
    return told.lost, told.duplicated, told.corrupt


def test_a_complete_file_is_counted_as_such(run_dir: Path) -> None:
    assert counts(judged(run_dir)) == (0, 0, 0)


def rows(run_dir: Path) -> list[bytes]:
    return (run_dir / record.FILE).read_bytes().splitlines(keepends=True)


def test_a_lost_record_is_counted(run_dir: Path) -> None:
    (run_dir / record.FILE).write_bytes(b"".join(rows(run_dir)[:-1]))
    assert counts(judged(run_dir)) == (1, 0, 0)


def test_a_record_that_is_there_twice_is_counted(run_dir: Path) -> None:
    last = json.loads(rows(run_dir)[-1])
    record.append(run_dir / record.FILE, {k: v for k, v in last.items() if k != "chain"})
    assert counts(judged(run_dir)) == (0, 1, 0)


def test_a_half_written_line_and_a_broken_chain_are_counted(run_dir: Path) -> None:
    whole = rows(run_dir)
    (run_dir / record.FILE).write_bytes(b"".join([whole[0], whole[1][:500] + b"\n", *whole[2:]]))
    told = judged(run_dir)
    assert counts(told) == (1, 0, 1) and told.chain_broken == 1 and not told.sound
