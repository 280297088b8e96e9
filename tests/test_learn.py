"""A chapter's page in the terminal, its expected ranges, and what the newest run gave beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from records import valid_record

from aisp_runner import aisp, learn, record
from aisp_runner.content import content_root
from aisp_runner.dev import chapters
from aisp_runner.errors import ConfigError
from aisp_runner.report import case_text, has_numbers

PAGES = sorted(p.parent.name for p in (content_root() / "chapters").glob("*/README.md"))
EXPECTED = sorted((content_root() / "chapters").glob("*/expected.yaml"))


def gave(value: float, machine: str = "Some CPU", group: str = "ch99", **changes: Any) -> dict[str, Any]:
    made = valid_record()
    made |= {
        "group": group,
        "speedup": {**made["speedup"], "value": value, "low": 0.99 * value, "high": 1.01 * value},
        **changes,
    }
    made["machine"] = {**made["machine"], "cpu": machine}
    made["case"] = {**made["case"], "device": "cpu"}
    return made


def of(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {learn.machine_of(records[0]): chapters.ranges(records, "aisp-run +chapter=ch99", "")}


def test_a_run_inside_the_range_is_no_surprise_and_one_outside_is() -> None:
    machines = of([gave(2.0)])
    for value, surprise in ((2.0, False), (1.7, False), (1.2, True), (3.5, True)):
        (row,) = learn.comparisons(machines, [gave(value)])
        assert row.surprise() is surprise, value
        assert row.yours == value and row.here == "Some CPU"


def test_another_machine_is_no_measure_for_this_one() -> None:
    (row,) = learn.comparisons(of([gave(2.0)]), [gave(9.0, "Another CPU")])
    assert not row.surprise()
    assert [len(learn.table([row], machine)) for machine in ("Some CPU", "Another CPU")] == [2, 2]


def test_what_was_refused_has_no_number_and_no_range() -> None:
    refused = gave(2.0, status="INVALID", outcome=None)
    assert of([refused])["Some CPU"]["speedups"] == {}
    (row,) = learn.comparisons(of([gave(2.0)]), [refused])
    assert row.yours is None and not row.surprise()


def test_a_range_holds_the_interval_and_reaches_further_for_host_time() -> None:
    kernel, wall = gave(2.0), gave(2.0)
    kernel["clock"], wall["clock"] = {**kernel["clock"], "claim": "kernel"}, {**wall["clock"], "claim": "wall"}
    assert chapters.around(kernel) == (1.6, 2.4) and chapters.around(wall) == (1.3, 3.0)
    wide = gave(2.0)
    wide["speedup"] |= {"low": 0.5, "high": 9.01}
    assert chapters.around(wide) == (0.5, 9.1)


def test_ranges_of_a_machine_replace_those_before_and_leave_other_machines(tmp_path: Path) -> None:
    (tmp_path / "chapters" / "ch99").mkdir(parents=True)
    for value, machine in ((2.0, "Some CPU"), (4.0, "Another CPU"), (3.0, "Some CPU")):
        chapters.expect(tmp_path, "ch99", [gave(value, machine)], "aisp-run +chapter=ch99")
    machines = learn.expected("ch99", tmp_path)
    rows = {machine: learn.comparisons(told, []) for machine, told in ((m, {m: machines[m]}) for m in machines)}
    assert list(machines) == ["Another CPU", "Some CPU"]
    assert rows["Some CPU"][0].ranges["Some CPU"][0] < 3.0 < rows["Some CPU"][0].ranges["Some CPU"][1]
    assert not rows["Some CPU"][0].ranges["Some CPU"][0] < 2.0


def test_the_newest_run_of_the_chapter_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (value, group) in enumerate(((2.0, "ch99"), (3.0, "ch99"), (4.0, "ch98"))):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        record.append(folder / record.FILE, gave(value, group=group))
        stamp = 1_000_000_000 + number
        os.utime(folder / record.FILE, (stamp, stamp))
    assert [r["speedup"]["value"] for r in learn.newest_of("ch99")] == [3.0]
    assert learn.newest_of("ch97") == []


def test_a_chapter_without_a_page_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "chapters" / "ch06").mkdir(parents=True)
    (tmp_path / "chapters" / "ch06" / "README.md").write_text("# Chapter 6\n")
    with pytest.raises(ConfigError, match=r"'ch66' is no chapter with a page\. Did you mean 'ch06'"):
        learn.page("ch66", tmp_path)


def test_a_file_that_does_not_follow_the_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chapters" / "ch99").mkdir(parents=True)
    (tmp_path / "chapters" / "ch99" / "expected.yaml").write_text("format: 1\nmachines: {x: {speedups: {}}}\n")
    with pytest.raises(ConfigError, match=r"expected\.yaml"):
        learn.expected("ch99", tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_shown(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert aisp.main(["learn", name]) == 0
    shown = capsys.readouterr().out
    assert "Prediction" in shown and "generated from" not in shown
    assert aisp.main(["learn", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"].startswith("# Chapter")


@pytest.mark.parametrize("path", EXPECTED, ids=lambda p: p.parent.name)
def test_kept_records_lie_within_the_ranges_made_from_them(path: Path) -> None:
    kept = 0
    for machine, told in learn.expected(path.parent.name).items():
        own = record.standing(content_root() / told["records"]) if "records" in told else []
        for r in filter(has_numbers, own):
            if learn.machine_of(r) == machine:
                low, high = told["speedups"][r["workload"]][r["variant"]][case_text(r)]
                assert low <= r["speedup"]["low"] and r["speedup"]["high"] <= high
                kept += 1
    assert kept or not any("records" in told for told in learn.expected(path.parent.name).values())


def test_tables_in_the_pages_are_those_of_the_records(tmp_path: Path) -> None:
    root = content_root()
    for records in sorted((root / "docs" / "results" / chapters.SHOWN).glob("ch??.jsonl")):
        page = Path("chapters") / records.stem / "README.md"
        copy = tmp_path / page
        copy.parent.mkdir(parents=True)
        copy.write_text((root / page).read_text())
        own = tmp_path / "docs" / "results" / chapters.SHOWN / records.name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(records.read_bytes())
        chapters.tabulate(tmp_path, own)
        assert copy.read_text() == (root / page).read_text(), "python -m aisp_runner.dev.chapters"
