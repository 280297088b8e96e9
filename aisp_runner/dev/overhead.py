"""Where the time of a verdict goes: the stages of a run, and what a batch costs beyond the work that it times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner.dev import line, whole
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.dev.settings import measure
from aisp_runner.dev.workloads import Operation, repeat_operations
from aisp_runner.execute import Pool
from aisp_runner.report import Console

COLUMNS = (
    Column("what", "operation, setting"),
    Column("which", "case"),
    Column("seconds", "verdict s", 2),
    Column("start", "start s", 2),
    Column("calibrate", "calibrate s", 2),
    Column("measure", "measure s", 2),
    Column("rest", "rest s", 2),
    Column("rounds"),
    Column("batches"),
    Column("batch_ms", "batch ms", 2),
    Column("overhead_ms", "overhead ms", 2),
    Column("problem"),
)


def run(
    console: Console,
    device: str,
    further: int,
    out: Path | None = None,
    settings: Sequence[str] = ("quick", "standard"),
    only: str = "",
) -> Rows:
    """The whole command of one verdict at quick; then at each setting the first case with fork servers of its own, in a process
    that has imported torch, and the median of `further` more. only: operations whose name contains it.
    """
    rows = Rows("overhead", COLUMNS, console, device, out, {"further": further})
    if "quick" in settings and not only:
        what = {"what": f"{whole.NAME}, quick", "setting": "quick", "which": "whole command"}
        rows.add(what | whole.run(device, max(1, further)))
    for setting in settings:
        for operation in repeat_operations(device, only):
            with Pool() as pool:
                for which, count in (("first", 1), (f"median of {further} further", further)):
                    if count:
                        rows.add(_row(operation, device, setting, which, pool, count))
    return rows


def _row(operation: Operation, device: str, setting: str, which: str, pool: Pool, count: int) -> dict[str, Any]:
    made = [line.run(operation.case(device, measure(setting)), pool, fresh=False) for _ in range(count)]
    problem = next((told for m in made if (told := line.told(m))), "")
    row: dict[str, Any] = {"what": f"{operation.name}, {setting}", "setting": setting, "which": which, "problem": problem}
    values = [figures(m) for m in made]
    return row | {key: statistics.median(v[key] for v in values) for key in values[0]}


def figures(made: dict[str, Any]) -> dict[str, float]:
    """Seconds by stage, the batches of all kinds, and what a batch takes in the measuring stage beyond the time that is its
    own: drawing, revealing, flushing, checking and talking to the worker.
    """
    stages, samples = made["stages_s"], made["samples"]
    named = {key: stages.get(key, 0.0) for key in ("start", "calibrate", "measure")}
    inside = [s["done_ns"] - s["issued_ns"] for s in samples if s["purpose"] != "warm_up"]
    timed_s = sum(inside) / 1e9
    return {
        **named,
        "seconds": made["seconds"],
        "rest": made["seconds"] - sum(named.values()),
        "rounds": (made["clock"] or {}).get("rounds") or 0,
        "batches": len(samples),
        "batch_ms": 1e3 * timed_s / max(1, len(inside)),
        "overhead_ms": 1e3 * (named["measure"] - timed_s) / max(1, len(inside)),
    }
