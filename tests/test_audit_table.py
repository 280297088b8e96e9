"""Rows of an audit as people read them: which ones hold, and which protections nobody misses."""

from __future__ import annotations

from typing import Any

import pytest

from aisp_runner.audit import table

CAUGHT: dict[str, Any] = {
    "attack": "output/stale_cache",
    "issue": "output.stale_cache",
    "expect": "output.fresh_inputs",
    "device": "cpu",
    "calls": [10, 48],
    "refused": True,
    "named": True,
    "reasons": ["output.fresh_inputs"],
    "witness": ["judge"],
    "alive": True,
    "fake_speedup": 7.5,
    "unprotected": "off",
    "twin_accepted": True,
    "twin": ["VALID"],
}


def left_out(attack: str, expect: str, missed: bool, *reasons: str) -> dict[str, Any]:
    """A row of `--mutate`."""
    return {**{key: CAUGHT[key] for key in ("issue", "device", "calls")}, "attack": attack, "expect": expect, "missed": missed,
            "reasons": list(reasons)}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ("refused by output.fresh_inputs", "alive (7.50x off)", "twin accepted")),
        ({"refused": False, "reasons": []}, ("NOT REFUSED",)),
        ({"named": False, "reasons": ["memory.late_writes"]}, ("refused by memory.late_writes",)),
        ({"alive": False, "fake_speedup": None}, ("NOT ALIVE (- off)",)),
        (
            {"twin_accepted": False, "twin": ["INVALID output.finite_values nan"]},
            ("TWIN REFUSED: INVALID output.finite_values",),
        ),
    ],
)
def test_a_line_says_what_became_of_an_attack(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    row = CAUGHT | changes
    assert all(word in table.line(row) for word in words)
    assert table.holds(row) == (not changes or not row["named"])
    assert table.markdown([row]).count("\n") == 2


def test_a_protection_is_missed_when_one_of_its_attacks_is_accepted_without_it() -> None:
    rows = [
        left_out("a/one", "output.fresh_inputs", False, "output.tolerance_bound"),
        left_out("a/two", "output.fresh_inputs", True),
        left_out("b/one", "memory.late_writes", False, "timing.drain_bound"),
        left_out("c/one", "processes", True),
    ]
    assert table.unmissed(rows) == ["memory.late_writes"]
    assert table.unmissed(rows[:2]) == []
    printed = table.mutation_markdown(rows)
    assert "| output.fresh_inputs | a/two | a/one by output.tolerance_bound |" in printed
    assert "| memory.late_writes | none | b/one by timing.drain_bound |" in printed and "processes" not in printed
    assert "refused all the same by timing.drain_bound" in table.line(rows[2])
