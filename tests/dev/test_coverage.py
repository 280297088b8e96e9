"""Simulated coverage: a tiny version of the table."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest

from aisp_runner.case import Measure
from aisp_runner.dev import coverage
from aisp_runner.dev.coverage import Cell, cells, simulated
from aisp_runner.dev.noise import REGIMES
from aisp_runner.dev.settings import SETTINGS, measure
from aisp_runner.report import Console

MEASURE = Measure(processes=3, rounds=6, min_rounds=2, half_width=0.005)


def test_every_noise_meets_every_setting() -> None:
    given = cells(10, 5)
    assert {(c.regime.name, c.setting) for c in given} == {(r.name, s) for r in REGIMES for s in SETTINGS}
    assert [c.measure.processes for c in given[:4]] == [1, 3, 5, 10]
    assert [measure(name).processes for name in SETTINGS] == [1, 5, 10], "the settings run what is simulated"


def test_a_quiet_cell_covers_and_finds_what_is_there() -> None:
    row = simulated(Cell(REGIMES[0], "quick", MEASURE, trials=300, effect_trials=60))
    assert row["coverage"] == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / row["trials"]))
    assert row["trials"] == 300 + 60 * len(coverage.EFFECTS)
    assert abs(row["bias"]) < 0.001 and 2 <= row["rounds"] <= 6
    found = list(row["found"].values())
    assert found == sorted(found) and found[0] < 0.9 and found[-1] == 1
    assert row["false_no_floor"] <= 0.02 and row["faster_floor"][0.05] <= row["faster_no_floor"][0.05]


def test_rounds_stop_at_the_width_and_at_the_cap() -> None:
    wide, narrow = (
        simulated(Cell(REGIMES[0], "quick", Measure(processes=3, rounds=6, min_rounds=2, half_width=width), 40, 5))["rounds"]
        for width in (1.0, 1e-9)
    )
    assert wide == 2 and narrow == 6


def test_stopping_on_the_printed_interval_covers_less() -> None:
    assert coverage.stopped_on_width(3, 200) < 0.93


def test_a_table_is_written_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "cells", lambda trials, some: [Cell(REGIMES[0], "quick", MEASURE, trials, some)] * 2)
    told = io.StringIO()
    rows = coverage.run(Console(told, 300), tmp_path / "coverage.json", trials=20, effect_trials=5)
    assert len(rows.rows) == 2 and (tmp_path / "coverage.json").is_file()
    assert len(told.getvalue().splitlines()) == 3 and rows.settings["margin"] == coverage.MARGIN


# The page

RESULT = Path(__file__).resolve().parents[2] / "docs" / "results" / "simulation" / "coverage.json"
PAGE = RESULT.parents[2] / "measurement.md"


def test_the_page_shows_the_tables_that_were_simulated() -> None:
    page = PAGE.read_text()
    assert all(table in page for table in coverage.tables(json.loads(RESULT.read_text())["rows"]).split("\n\n"))


def test_replicated_intervals_cover_between_93_and_97_percent_and_the_page_tells_the_rest() -> None:
    rows = json.loads(RESULT.read_text())["rows"]
    replicated = [row for row in rows if row["processes"] > 1]
    assert len(replicated) == 3 * len(REGIMES) and all(row["trials"] >= 2000 for row in rows)
    assert all(0.93 <= row["coverage"] <= 0.97 for row in replicated)
    assert all(row["false_floor"] <= 0.001 for row in replicated)
    greedy = json.loads(RESULT.read_text())["settings"]["stopped_on_width"]
    assert f"{100 * greedy['3']:.0f} % of runs, with five in {100 * greedy['5']:.0f} %" in PAGE.read_text()
    worst = min(rows, key=lambda row: row["coverage"] - row["nominal"])
    assert worst["processes"] == 1 and f"holds {100 * worst['coverage']:.0f} %" in PAGE.read_text()
