"""How repeatable a speed-up is whose true value is known: 1 (`repeat`), and 1.005 to 1.05 (`effects`)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aisp_runner.case import Measure
from aisp_runner.dev import company, line
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.dev.settings import measure
from aisp_runner.dev.workloads import effect_operation, repeat_operations
from aisp_runner.execute import Pool
from aisp_runner.record import by_device
from aisp_runner.report import Console

EFFECTS = {"0_5": 0.005, "1": 0.01, "2": 0.02, "5": 0.05}
"""Families in kernels.py end in these."""

REPEAT_COLUMNS = (
    Column("op", "operation"),
    Column("condition"),
    Column("tool"),
    Column("runs"),
    Column("sd", "sd %", 3, 100),
    Column("worst", "max |error| %", 3, 100),
    Column("wrong", "FASTER/SLOWER"),
    Column("mde", "MDE %", 2, 100),
    Column("floor", "floor %", 2, 100),
    Column("by_stamps", "decided by stamps"),
    Column("seconds", "s a run", 1),
    Column("problem"),
)
EFFECT_COLUMNS = (
    Column("effect", "true effect %", 1, 100),
    Column("runs"),
    Column("found", "interval excludes 1"),
    Column("faster", "FASTER"),
    Column("wrong", "SLOWER"),
    Column("estimate", "found %", 2, 100),
    Column("sd", "sd %", 3, 100),
    Column("stamps", "CUPTI says %", 2, 100),
    Column("mde", "MDE %", 2, 100),
    Column("floor", "floor %", 2, 100),
    Column("seconds", "s a run", 1),
    Column("problem"),
)


def repeat(
    console: Console,
    device: str,
    runs: int,
    setting: str,
    margin: float,
    out: Path | None = None,
    only: str = "",
    conditions: Sequence[str] = company.CONDITIONS,
    pool: Pool | None = None,
    **changes: Any,
) -> Rows:
    """A function against itself, `runs` fresh runs under each condition; then the same by a timer that runs A, then B.

    only: operations whose name contains it. changes: fields of Measure. pool: fork servers to use and leave running.
    """
    wanted = measure(setting, margin=margin, **changes)
    settings = {"measure": setting, "margin": margin, "changes": changes, "runs": runs}
    rows = Rows("repeat", REPEAT_COLUMNS, console, device, out, settings)
    with line.pooled(pool) as pool:
        pool.open(device)
        for condition in conditions:
            with company.disturbed(condition, device):
                for operation in repeat_operations(device, only):
                    named = {"op": operation.name, "condition": condition, "tool": "aisp-run"}
                    case = operation.case(device, wanted)
                    _fresh_runs(rows, named, 0.0, runs, partial(line.run, case, pool))
                for answer in company.answers("repeat", "--device", device, "--runs", str(runs), "--only", only):
                    tool = "do_bench A, B" if device == "cuda" else "perf_counter A, B"
                    rows.add({"op": answer["op"], "condition": condition, "tool": tool} | _spread(answer["speedups"]))
    return rows


def effects(
    console: Console,
    device: str,
    runs: int,
    setting: str,
    margin: float,
    out: Path | None = None,
    pool: Pool | None = None,
    **changes: Any,
) -> Rows:
    """A baseline that does a known part more work than its candidate: how often that is found. The rest as in `repeat`."""
    wanted = measure(setting, margin=margin, **changes)
    settings = {"measure": setting, "margin": margin, "changes": changes, "runs": runs}
    rows = Rows("effects", EFFECT_COLUMNS, console, device, out, settings)
    with line.pooled(pool) as pool:
        for name, effect in EFFECTS.items():
            named = {"op": effect_operation(device)[0].name, "effect": effect}
            _fresh_runs(rows, named, effect, runs, partial(_slower, device, wanted, name, pool))
    return rows


def _fresh_runs(rows: Rows, named: dict[str, Any], effect: float, runs: int, one: Callable[[], dict[str, Any]]) -> None:
    """A row of `runs` runs, in the file after each of them."""
    made = []
    for _ in range(runs):
        made.append(one())
        rows.so_far(named | summary(made, effect), runs)
    rows.add(named | summary(made, effect))


def _slower(device: str, wanted: Measure, effect: str, pool: Pool) -> dict[str, Any]:
    operation, family = effect_operation(device)
    return line.run(operation.case(device, wanted, baseline=f"{family}_{effect}", candidate=f"{family}_0"), pool)


def summary(made: list[dict[str, Any]], effect: float) -> dict[str, Any]:
    """What these runs' speed-ups say of a true one of 1 + effect."""
    good = [m for m in made if not line.told(m)]
    problems = [line.told(m) for m in made if line.told(m)]
    row: dict[str, Any] = {"runs": len(made), "seconds": statistics.median(m["seconds"] for m in made)}
    row |= {"problem": problems[0] if problems else "", "problems": problems}
    if not good:
        return row
    row |= _spread([m["speedup"]["value"] for m in good], effect)
    outcomes = [m["outcome"] for m in good]
    stamps = [s["value"] for m in good if (s := (m["device_clock"] or {}).get("busy_speedup"))]
    return row | {
        "runs": len(good),
        "intervals": [[m["speedup"]["low"], m["speedup"]["high"]] for m in good],
        "outcomes": outcomes,
        "found": sum(m["speedup"]["low"] > 1 for m in good),
        "covered": sum(m["speedup"]["low"] <= 1 + effect <= m["speedup"]["high"] for m in good),
        "faster": outcomes.count("FASTER"),
        "wrong": outcomes.count("SLOWER") + (0 if effect else outcomes.count("FASTER")),
        "mde": _median([m["speedup"]["mde"] for m in good]),
        "floor": _median([m["speedup"]["floor"] for m in good]),
        "stamps": statistics.median(stamps) - 1 if stamps else None,
        "by_stamps": sum(by_device(m) for m in good),
        "modes": sorted({m["clock"]["mode"] for m in good}),
    }


def _spread(speedups: list[float], effect: float = 0.0) -> dict[str, Any]:
    logs = [math.log(value) for value in speedups]
    return {
        "runs": len(logs),
        "speedups": speedups,
        "estimate": math.expm1(statistics.fmean(logs)),
        "sd": statistics.stdev(logs) if len(logs) > 1 else 0.0,
        "worst": max(abs(v - math.log1p(effect)) for v in logs),
    }


def _median(values: list[float | None]) -> float | None:
    told = [v for v in values if v is not None]
    return statistics.median(told) if told else None
