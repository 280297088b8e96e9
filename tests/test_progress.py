"""How far a run is, for people and as JSON lines that follow their schema."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from bench import case
from records import refused_record, valid_record
from sweeps import cut, ran, small_plan

from aisp_runner import record
from aisp_runner.case import Plan
from aisp_runner.execute import Ways
from aisp_runner.forkserver import ForkServer
from aisp_runner.progress import Lines, Progress, duration

pytest_plugins = ("shared_server",)
RAISES = "def candidate(a, b, c):\n    raise ValueError('not today')"


def test_counts_time_left_and_the_mean_follow_the_records() -> None:
    progress = Progress(10, [valid_record(800.0, 400.0)])
    assert (progress.kept, progress.done, progress.left, progress.left_s) == (1, 1, 9, None)
    progress.add(valid_record(800.0, 100.0), 4.0)
    progress.add(refused_record(), 2.0)
    progress.add(refused_record("ERROR", "worker.died"), 0.0)
    progress.add(refused_record("INCONCLUSIVE", "timing.resolution"), 2.0)
    assert (progress.done, progress.failed, progress.left, progress.left_s) == (5, 2, 5, 10.0)
    one, two = (valid_record(800.0, us)["speedup"]["value"] for us in (400.0, 100.0))
    assert progress.speedup == pytest.approx(math.sqrt(one * two))
    assert progress.words() == f"5 done, 2 failed, 5 left, about 10 s; {progress.speedup:.2f}x on average"


def test_a_number_in_quarantine_is_in_no_mean() -> None:
    progress = Progress(3, [valid_record(quarantined=True)])
    assert progress.speedup is None and progress.to_json()["speedup_mean"] is None


def test_nothing_is_said_of_what_is_left_when_nothing_is() -> None:
    assert Progress(1, [valid_record()]).words() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (5400, "1.5 h"), (90000, "25.0 h"), (200000, "2.3 d")]
)
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nothing_is_written_where_it_was_not_asked_for() -> None:
    stream = io.StringIO()
    Lines(False, stream).ended(Progress(1), 0)
    assert stream.getvalue() == ""


def written(text: str) -> list[dict[str, Any]]:
    """The JSON lines, each held to the schema."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for line in found:
        assert record.complaints(line, "progress") == [], line
    return found


def test_a_run_writes_a_line_at_each_step(server: ForkServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan((case(tmp_path / "good"), case(tmp_path / "bad", RAISES, n=4096)))
    ran(plan, tmp_path / "run", server, Ways(progress="json"))
    told = written(capsys.readouterr().err)
    assert [line["event"] for line in told] == ["start", "case_start", "case_end", "case_start", "case_end", "end"]
    assert [(line["done"], line["left"]) for line in told] == [(0, 2), (0, 2), (1, 1), (1, 1), (2, 0), (2, 0)]
    assert told[0]["plan_sha256"] == plan.sha256() and told[0]["shard"] == "1/1" and told[0]["left_s"] is None
    assert told[4]["case"]["status"] == "ERROR" and told[4]["case"]["reasons"] == ["worker.raised"]
    assert told[-1]["exit_code"] == 0 and told[-1]["failed"] >= 1
    assert [line["elapsed_s"] for line in told] == sorted(line["elapsed_s"] for line in told)


def test_a_run_that_goes_on_counts_what_is_there(
    server: ForkServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = small_plan(tmp_path / "kernels")
    ran(plan, tmp_path / "run", server)
    run_dir = cut(tmp_path / "run", tmp_path / "cut", 2)
    ran(plan, run_dir, server, Ways(resume=True, progress="json"))
    told = written(capsys.readouterr().err)
    assert (told[0]["total"], told[0]["kept"], told[0]["done"], told[0]["left"]) == (3, 2, 2, 1)
    assert told[1]["case"] == {"number": 3, "title": plan.cases[2].title}


def test_a_run_that_breaks_off_says_so(
    server: ForkServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aisp_runner import execute

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run_case", stopped)
    with pytest.raises(KeyboardInterrupt):
        ran(small_plan(tmp_path / "kernels"), tmp_path / "run", server, Ways(progress="json"))
    assert [(line["event"], line.get("exit_code", 0)) for line in written(capsys.readouterr().err)][-1] == ("end", None)


def test_a_log_says_after_each_case_how_far_the_run_is(server: ForkServer, tmp_path: Path) -> None:
    told = ran(small_plan(tmp_path / "kernels"), tmp_path / "run", server)
    first, second, third = (line for line in told.splitlines() if line.startswith("["))
    assert "; 1 done, 2 left, about " in first.replace("1 failed, ", "") and ", 1 left, about " in second
    assert "left" not in third
