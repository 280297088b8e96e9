"""A benchmark's table and its file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from aisp_runner.dev.rows import Column, Rows
from aisp_runner.report import Console

COLUMNS = (Column("what", "operation"), Column("us", "time us", 2), Column("off", "off %", 1, 100), Column("note"))


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


def test_a_row_is_printed_and_on_the_disk_as_soon_as_it_is_there(told: io.StringIO, tmp_path: Path) -> None:
    rows = Rows("clock", COLUMNS, Console(told, 200), out=tmp_path / "deep" / "rows.json", settings={"repeats": 5})
    rows.add({"what": "add", "us": 1.2345, "off": 0.0213, "raw": [1, 2]})
    first = json.loads((tmp_path / "deep" / "rows.json").read_text())
    rows.add({"what": "mul", "us": None, "off": float("inf"), "note": "no kernel"})
    second = json.loads((tmp_path / "deep" / "rows.json").read_text())
    assert [len(first["rows"]), len(second["rows"])] == [1, 2]
    assert second["bench"] == "clock" and second["settings"] == {"repeats": 5} and second["rows"][0]["raw"] == [1, 2]
    assert second["rows"][1]["off"] == "Infinity" and second["machine"]["cores"]
    lines = told.getvalue().splitlines()
    assert lines[0].split() == ["operation", "time", "us", "off", "%", "note"]
    assert lines[1].split() == ["add", "1.23", "2.1", "-"] and lines[2].split() == ["mul", "-", "inf", "no", "kernel"]
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_row_that_takes_long_is_in_the_file_before_it_is_done(told: io.StringIO, tmp_path: Path) -> None:
    rows = Rows("repeat", COLUMNS, Console(told, 200), out=tmp_path / "rows.json")
    rows.so_far({"what": "add", "us": 1.0}, 10)
    rows.so_far({"what": "add", "us": 2.0}, 10)
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == [{"what": "add", "us": 2.0, "wanted": 10}]
    assert told.getvalue() == ""
    rows.add({"what": "add", "us": 3.0})
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == [{"what": "add", "us": 3.0}]


def test_markdown_has_the_same_cells(told: io.StringIO) -> None:
    rows = Rows("clock", COLUMNS[:2], Console(told, 200))
    rows.add({"what": "add", "us": 2.0})
    assert rows.markdown() == "| operation | time us |\n| --- | ---: |\n| add | 2.00 |\n"
