"""The one table of a machine's records."""

from __future__ import annotations

import copy
from typing import Any

from records import valid_record

from aisp_runner.content import content_root
from aisp_runner.dev import summary

H200 = content_root() / "docs" / "results" / "h200"


def gave(variant: str, value: float, n: int = 64, held_out: bool = False, **changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(valid_record())
    made |= {"variant": variant, "workload": "w"}
    made["speedup"] |= {"value": value}
    made["case"] = {"axes": {"n": n}, "device": "cuda", "held_out": held_out}
    return made | changes


def test_the_largest_declared_case_counts_and_the_library_stands_apart() -> None:
    records = [gave("a", 9.0, n=32), gave("a", 2.0), gave("b", 3.0), gave("library", 4.0), gave("a", 8.0, n=61, held_out=True)]
    (row,) = summary.rows(records)
    assert [r["case"]["axes"]["n"] for r in row.records] == [64] * 3
    assert row.best is not None and row.best["variant"] == "b"
    assert row.called is not None and row.called["speedup"]["value"] == 4.0


def test_a_loss_is_shown_and_what_was_refused_never_wins() -> None:
    refused = gave("b", 30.0, status="INVALID", outcome=None, reasons=["output.fresh_inputs"])
    (row,) = summary.rows([gave("a", 0.5), refused])
    assert row.best is not None and row.best["variant"] == "a"
    (row,) = summary.rows([refused])
    assert row.best is None


def test_the_published_table_was_made_from_the_records_beside_it() -> None:
    assert (H200 / "summary.md").read_text() == summary.text(H200), "python -m aisp_runner.dev.summary"
