"""What the protections cost: the wall time of a verdict with all of them and with none, and whether the number changes."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner.dev import line
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.dev.settings import measure
from aisp_runner.dev.workloads import Operation, repeat_operations
from aisp_runner.execute import Pool
from aisp_runner.protect import registry
from aisp_runner.report import Console

MODES = registry.MODES

COLUMNS = (
    Column("what", "operation, setting"),
    Column("runs"),
    Column("strict_s", "strict s", 2),
    Column("off_s", "off s", 2),
    Column("ratio", "strict / off", 2),
    Column("strict_speedup", "speed-up strict", 4),
    Column("off_speedup", "speed-up off", 4),
    Column("apart_percent", "apart %", 2),
    Column("scatter_percent", "scatter %", 2),
    Column("problem"),
)


def run(
    console: Console,
    device: str,
    runs: int,
    out: Path | None = None,
    settings: Sequence[str] = ("quick", "standard"),
    only: str = "",
) -> Rows:
    """A function against itself, `runs` times with all protections and as often with none, in turn, on workers that are there.

    only: operations whose name contains it. Each row gives medians; `scatter_percent` is the standard deviation of a single
    strict run's speed-up, in percent, which `apart_percent` of two medians is to be held against.
    """
    rows = Rows("protections", COLUMNS, console, device, out, {"runs": runs})
    for setting in settings:
        for operation in repeat_operations(device, only):
            with Pool() as pool:
                rows.add(_row(operation, device, setting, pool, runs))
    return rows


def _row(operation: Operation, device: str, setting: str, pool: Pool, runs: int) -> dict[str, Any]:
    case = operation.case(device, measure(setting))
    cases = {mode: dataclasses.replace(case, protections=registry.select({"mode": mode})) for mode in MODES}
    made: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    line.run(case, pool)  # starts the fork server and compiles
    for number in range(runs):
        for mode in MODES if number % 2 else MODES[::-1]:
            made[mode].append(line.run(cases[mode], pool, fresh=False))
    problem = next((told for each in made.values() for m in each if (told := line.told(m))), "")
    row: dict[str, Any] = {"what": f"{operation.name}, {setting}", "setting": setting, "runs": runs, "problem": problem}
    return row | figures(made)


def figures(made: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """made: records with `seconds`, by mode. Speed-ups are None where a mode has none."""
    seconds = {mode: statistics.median(m["seconds"] for m in each) for mode, each in made.items()}
    told = {mode: [m["speedup"]["value"] for m in each if m["speedup"]] for mode, each in made.items()}
    value = {mode: statistics.median(values) if values else None for mode, values in told.items()}
    strict, off = value["strict"], value["off"]
    apart = None if strict is None or off is None else 100 * abs(strict / off - 1)
    scatter = 100 * statistics.stdev(told["strict"]) if len(told["strict"]) > 1 else None
    return {
        "strict_s": seconds["strict"],
        "off_s": seconds["off"],
        "ratio": seconds["strict"] / seconds["off"],
        "strict_speedup": strict,
        "off_speedup": off,
        "apart_percent": apart,
        "scatter_percent": scatter,
    }
