"""Files of thousands of records are shown without judging each anew, and say so; smaller ones and whole looks are judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import aisp, record, record_file, summaries
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.report import row
from aisp_runner.run_view import view

KEPT = content_root() / "docs" / "results" / "cpu" / "ch12.jsonl"
Captured = pytest.CaptureFixture[str]


def many(count: int) -> Iterator[dict[str, Any]]:
    """Kept records again and again, each at a size of its own."""
    kept = record.read(KEPT)
    for number in range(count):
        r = json.loads(json.dumps(kept[number % len(kept)]))
        r["case"]["axes"] = {"n": number + 1}
        yield r


def plan_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    """As much of a plan as is looked at."""
    cases = [
        {
            "workload": r["workload"],
            "optimized": {"name": r["variant"]},
            "baseline": {"name": r["baseline"]},
            "candidate": r["candidate"],
            **r["case"],
        }
        for r in records
    ]
    return {
        "sha256": "",
        "plan": {"cases": cases, "skips": [{"workload": "w", "variant": "v", "device": "cuda", "reason": "none"}]},
    }


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(summaries, "LARGE_BYTES", 1)
    record_file.write_whole(tmp_path / record.FILE, many(7))
    return tmp_path


def test_a_large_file_gives_the_same_rows_as_a_whole_look(large: Path) -> None:
    short, whole = view(large, whole=False), view(large, whole=True)
    assert [row(r) for r in short.records] == [row(r) for r in whole.records] and len(short.records) == 7
    assert "samples" not in short.records[0] and "samples" in whole.records[0]
    assert short.notes[0].startswith("7 records: their numbers were not computed again") and not whole.notes


def test_a_contradiction_is_found_in_a_whole_look_and_what_is_left_out_is_told(large: Path, capsys: Captured) -> None:
    bent = [r | ({"speedup": r["speedup"] | {"value": 99.0}} if n == 3 else {}) for n, r in enumerate(many(7))]
    record_file.write_whole(large / record.FILE, bent)
    assert any("99" in text for text in view(large, whole=True).wrong)
    assert aisp.main(["show", str(large)]) == 0
    assert f"That does: aisp verify-record {large}" in capsys.readouterr().out
    assert aisp.main(["show", str(large), "--json"]) == 3


def test_records_come_in_the_plans_order_with_what_it_skipped(large: Path) -> None:
    backwards = list(many(7))[::-1]
    (large / "plan.json").write_text(json.dumps(plan_of(backwards)))
    seen = view(large, whole=False)
    assert [r["case"]["axes"]["n"] for r in seen.records] == [7, 6, 5, 4, 3, 2, 1]
    assert [skip.reason for skip in seen.skips] == ["none"]


def test_a_superseded_record_is_left_out_and_counted(large: Path) -> None:
    first = record_file.known_as(record.read(large / record.FILE)[0])
    again = list(many(7))
    again.append(again[0] | {"supersedes": {"sha256": first, "why": "its key no longer fits"}})
    path = large / record.FILE
    with open(path, "ab") as file:
        file.write(record_file.encoded(again[-1]) + b"\n")
    seen = view(large, whole=False)
    assert len(seen.records) == 7 and seen.notes[1].startswith("1 superseded records are not shown")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('a message with ,"samples":[ in it', id="the key in a string"),
        pytest.param('a message with ,"samples":[1],"errors":{} in it', id="both keys in a string"),
    ],
)
def test_a_string_that_looks_like_the_keys_is_kept(large: Path, text: str) -> None:
    record_file.write_whole(large / record.FILE, [r | {"message": text} for r in many(2)])
    assert [r["message"] for r in view(large, whole=False).records] == [text, text]


def test_keys_in_another_order_are_read_all_the_same(large: Path) -> None:
    turned = [dict(reversed(r.items())) for r in many(3)]
    (large / record.FILE).write_text("\n".join(map(json.dumps, turned)))
    assert len(view(large, whole=False).records) == 3


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"workload": "w"}', '{"workload": 3, "status": "VALID"}', "\x00"])
def test_what_is_no_record_is_named_by_file_and_line(large: Path, line: str) -> None:
    with open(large / record.FILE, "a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match=rf"{record.FILE}:8: not a record\. aisp verify-record "):
        view(large, whole=False)
