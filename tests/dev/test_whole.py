"""The whole command of a verdict, for real and in fresh processes."""

from __future__ import annotations

import io

import pytest

from aisp_runner.dev import overhead, whole
from aisp_runner.report import Console


@pytest.mark.alone
def test_a_whole_command_takes_longer_than_its_stages() -> None:
    made = whole.run("cpu", 1)
    assert made["times"] == [made["seconds"]] and made["problem"] in ("", "INCONCLUSIVE timing.resolution")
    stages = [made[key] for key in ("start", "calibrate", "measure")]
    assert all(seconds > 0 for seconds in stages) and made["rest"] > 0.3  # python and torch alone take longer
    assert made["seconds"] == pytest.approx(sum(stages) + made["rest"])


def test_it_is_the_first_row_of_the_table_where_all_of_quick_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"seconds": 4.0, "start": 1.0, "calibrate": 0.5, "measure": 1.0, "rest": 1.5, "problem": ""}
    monkeypatch.setattr(whole, "run", lambda device, runs: row)
    monkeypatch.setattr(overhead, "repeat_operations", lambda device, only: ())
    console = Console(io.StringIO())
    (first,) = overhead.run(console, "cpu", 3, settings=("quick",)).rows
    assert first["which"] == "whole command" and first["seconds"] == 4.0
    assert overhead.run(console, "cpu", 3, settings=("standard",)).rows == []
