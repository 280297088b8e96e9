"""The benchmark of lanes: its plan, what it calls different, and a short one for real."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from records import valid_record

from aisp_runner.against_plan import identity
from aisp_runner.dev import bench, spread
from aisp_runner.dev.settings import measure
from aisp_runner.errors import ConfigError
from aisp_runner.report import Console


def test_every_case_is_another_and_a_quarter_compares_a_function_with_itself(tmp_path: Path) -> None:
    cases = spread.plan(tmp_path, "cuda", 64, measure("quick"), 3).cases
    assert len({identity(c) for c in cases}) == 64 and {c.threads for c in cases} == {3}
    assert Counter(c.optimized.name for c in cases) == {"fused": 48, "same": 16}


def told(value: float, half: float, floor: float, **changes: Any) -> dict[str, Any]:
    made = valid_record(**changes)
    made["speedup"] |= {"value": value, "low": value - half, "high": value + half, "floor": floor}
    return made


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        (told(2.5, 0.1, 0.01), True),
        (told(2.5, 0.5, 0.01), False),
        (told(2.5, 0.1, 0.3), False),
        (valid_record(speedup=None), False),
    ],
    ids=["apart", "the intervals meet", "within the floor", "no speed-up"],
)
def test_speedups_differ_beyond_the_floor_alone(other: dict[str, Any], apart: bool) -> None:
    assert spread.differ(told(2.0, 0.1, 0.01), other) is apart


def test_what_differs_from_the_first_run_is_counted() -> None:
    first = {1: told(2.0, 0.1, 0.01), 2: told(1.0, 0.01, 0.02, variant="same")}
    again = {1: told(2.5, 0.1, 0.01, outcome="SAME"), 2: told(1.1, 0.01, 0.04, variant="same", status="VALID")}
    made = spread.summary(first, again)
    assert (made["valid"], made["status_differs"], made["outcome_differs"], made["speedup_differs"]) == (2, 0, 1, 2)
    assert made["floor_median"] == pytest.approx(0.025) and made["same_worst"] == pytest.approx(0.0953, abs=1e-3)


def test_words_on_the_command_line_are_numbers_of_lanes() -> None:
    given = bench.parser().parse_args(["spread", "--device", "cuda", "--gpus", "1,2,4", "--cases", "64"])
    assert (given.gpus, given.lanes, given.cases) == ((1, 2, 4), (1, 2), 64)
    with pytest.raises(SystemExit):
        bench.parser().parse_args(["spread", "--lanes", "0"])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two lanes need two cores")
def test_the_same_plan_on_one_lane_and_on_two(tmp_path: Path) -> None:
    out = tmp_path / "spread.json"
    spread.run(Console(io.StringIO()), "cpu", (1, 2), 4, out=out)
    one, two = json.loads(out.read_text())["rows"]
    assert (one["lanes"], one["scaling"], two["lanes"]) == (1, 1.0, 2)
    assert (
        len(two["cases"]) == 4 and {c["lane"] for c in two["cases"]} == {1, 2} and {c["lane"] for c in one["cases"]} == {None}
    )


def test_more_lanes_than_cores_are_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "timed", lambda *given: (1.0, {1: told(2.0, 0.1, 0.01)}))
    with pytest.raises(ConfigError, match="4 lanes: 1 did any case"):
        spread.run(Console(io.StringIO()), "cpu", (4,), 8)
