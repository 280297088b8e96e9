"""What many runs say together, from records made up for it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from aisp_runner.dev.repeat import REPEAT_COLUMNS, summary


def record(value: float, half: float, outcome: str, **more: Any) -> dict[str, Any]:
    speedup = {"value": value, "low": value * (1 - half), "high": value * (1 + half), "mde": 0.02, "floor": 0.003}
    base = {"status": "VALID", "outcome": outcome, "speedup": speedup, "reasons": [], "message": "", "seconds": 2.0}
    return base | {"clock": {"mode": "graph"}, "device_clock": None} | more


def test_runs_without_an_effect_are_wrong_when_they_find_one() -> None:
    row = summary([record(1.001, 0.0005, "SAME"), record(0.98, 0.001, "SLOWER"), record(1.02, 0.001, "FASTER")], 0.0)
    assert row["runs"] == 3 and row["wrong"] == 2 and row["found"] == 2 and row["covered"] == 0
    assert row["worst"] == pytest.approx(-math.log(0.98)) and row["mde"] == 0.02 and row["modes"] == ["graph"]


def test_runs_with_an_effect_are_wrong_only_when_they_find_the_opposite() -> None:
    stamped = record(1.02, 0.001, "FASTER", device_clock={"busy_speedup": {"value": 1.0195}})
    row = summary([stamped, record(1.021, 0.002, "FASTER"), record(0.9, 0.01, "SLOWER")], 0.02)
    assert row["faster"] == 2 and row["wrong"] == 1 and row["found"] == 2 and row["covered"] == 2
    assert row["stamps"] == pytest.approx(0.0195)


def test_refused_runs_are_counted_out_and_told() -> None:
    refused = {"status": "ERROR", "speedup": None, "reasons": ["worker.died"], "message": "gone", "seconds": 1.0}
    row = summary([refused, record(1.0, 0.01, "SAME")], 0.0)
    assert row["runs"] == 1 and row["problem"].startswith("ERROR worker.died")
    nothing = summary([refused], 0.0)
    assert nothing["runs"] == 1 and "sd" not in nothing and nothing["problem"]


def test_runs_that_time_stamps_decided_are_counted() -> None:
    by_stamps = record(1.0, 0.001, "SAME", clock={"mode": "graph", "source": "device"})
    row = summary([by_stamps, by_stamps, record(1.0, 0.001, "SAME")], 0.0)
    assert row["by_stamps"] == 2 and "by_stamps" in {column.key for column in REPEAT_COLUMNS}
