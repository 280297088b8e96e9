"""GPUs beside each other, of records made by hand."""

from __future__ import annotations

import io
from typing import Any

import pytest
from records import refused_record, stamped_record, valid_record

from aisp_runner.lanes.compare import compared, lines
from aisp_runner.report import Console, to_markdown
from lanes.nvml import UUIDS


def on(place: int, value: float, half: float = 0.02, floor: float = 0.01, us: float = 400.0, n: int = 1024) -> dict[str, Any]:
    """A record of a case on a GPU with this speed-up, give or take `half`, and this time of a call."""
    made = valid_record(800.0, us)
    made["speedup"] |= {"value": value, "low": value - half, "high": value + half, "floor": floor}
    return bound(made, place, n)


def bound(made: dict[str, Any], place: int, n: int = 1024) -> dict[str, Any]:
    made["clock"] = made["clock"] and {**made["clock"]}
    made["case"] = {"axes": {"n": n}, "device": "cuda", "held_out": False, "gpu": UUIDS[place]}
    made["lane"] = {"number": place + 1, "cores": [place], "gpu": {"uuid": UUIDS[place], "index": place, "model": "A"}}
    return made


@pytest.mark.parametrize(
    ("records", "apart"),
    [
        ([on(0, 2.0), on(1, 2.2)], True),
        ([on(0, 2.0), on(1, 2.01)], False),
        ([on(0, 2.0, floor=0.06), on(1, 2.2)], False),
        ([on(0, 2.0, half=0.2), on(1, 2.2)], False),
        ([on(0, 2.0), on(1, 2.03), on(2, 2.2)], True),
    ],
    ids=["apart", "within the floor", "one of the floors is too high", "the intervals meet", "the third one"],
)
def test_speedups_differ_beyond_twice_the_floor_where_no_interval_meets(records: list[dict[str, Any]], apart: bool) -> None:
    (row,) = compared(records)
    assert row.apart is apart
    assert ("speed-ups differ (" if apart else "speed-ups do not differ (") in row.conclusion()


def test_the_slowest_and_the_fastest_gpu_are_told_by_the_time_of_a_call() -> None:
    text = "\n".join(lines([on(0, 2.0, us=400.0), on(1, 2.0, us=440.0), on(2, 2.0, us=410.0)]))
    assert "GPU 0 2.00x [1.98, 2.02]  GPU 1 2.00x [1.98, 2.02]  GPU 2" in text
    assert "slowest GPU 1, fastest GPU 0: 10.0% apart, beyond the limit" in text
    assert "speed-ups differ between GPUs in 0 of 1 cases, times of a call in 1" in text


def test_each_case_is_compared_with_itself_and_a_refused_one_is_named() -> None:
    refused = bound(refused_record(), 1)
    rows = compared([on(0, 2.0), on(0, 3.0, n=2048), refused, on(1, 3.0, n=2048)])
    assert [(len(row.cells), row.missing) for row in rows] == [(1, ("GPU 1 INVALID",)), (2, ())]
    assert rows[0].conclusion() == "fewer than two GPUs have a number"


@pytest.mark.parametrize(
    "records", [[], [valid_record()], [on(0, 2.0)], [on(0, 2.0), bound(valid_record(quarantined=True), 1)]]
)
def test_nothing_is_said_where_no_two_gpus_have_a_number(records: list[dict[str, Any]]) -> None:
    assert lines(records) == []


def test_the_table_of_a_run_and_its_markdown_have_it_and_rows_name_the_gpu() -> None:
    told, records = io.StringIO(), [on(0, 2.0), on(1, 2.2)]
    Console(told, width=200).table(records, ())
    assert "n=1024 cuda GPU 1" in told.getvalue() and "GPUs compared, speed-up by GPU:" in told.getvalue()
    assert "slowest GPU" in to_markdown(records, ())


def test_a_number_by_time_stamps_is_held_against_none_by_the_judges_clock() -> None:
    (row,) = compared([on(0, 2.0), bound(stamped_record(), 1), on(2, 2.0)])
    assert [cell.index for cell in row.cells] == [0, 2] and row.missing == ("GPU 1 by time stamps",)
