"""The same plan on one, two, four GPUs or CPU lanes of this machine: wall time, and whether what is measured stays the same.

A quarter of the cases compare a function with itself, so that what lanes do to one another shows as well. What other programs
used meanwhile is told: with much of it a table says little. Blind spot: the cases are additions; kernels that lean harder on
memory or power may feel their neighbours more.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.case import Case, Limits, Measure, Plan, Tensor, Variant
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.dev.settings import measure
from aisp_runner.errors import AispError, ConfigError
from aisp_runner.plan_file import save_plan
from aisp_runner.protect import registry
from aisp_runner.report import Console
from aisp_runner.sources import describe

KERNEL = """
import torch

def reference(a, b):
    return a + b

def chunked(a, b, c):
    step = a.numel() // 16
    for i in range(0, a.numel(), step):
        torch.add(a[i : i + step], b[i : i + step], out=c[i : i + step])

def fused(a, b, c):
    torch.add(a, b, out=c)

def same(a, b, c):
    step = a.numel() // 16
    for i in range(0, a.numel(), step):
        torch.add(a[i : i + step], b[i : i + step], out=c[i : i + step])
"""
SMALLEST = {"cpu": 1 << 16, "cuda": 1 << 22}
"""Elements of the first case; each further one has a 16th more, from the start again after 16."""

LIMIT_S = 3600.0
"""No run of the plan takes longer."""

COLUMNS = (
    Column("lanes"),
    Column("seconds", "wall s", 1),
    Column("scaling", "scaling", 2),
    Column("others", "others' CPU %", 0, 100.0),
    Column("valid"),
    Column("status_differs", "status differs"),
    Column("outcome_differs", "outcome differs"),
    Column("speedup_differs", "speed-up differs"),
    Column("floor_median", "median A/A floor %", 2, 100.0),
    Column("same_median", "same: median |ln| %", 2, 100.0),
    Column("same_worst", "same: worst |ln| %", 2, 100.0),
    Column("same_decided", "same: called different"),
)


def run(
    console: Console, device: str, counts: Sequence[int], cases: int = 64, setting: str = "quick", out: Path | None = None
) -> Rows:
    """A row for each number of lanes. counts: GPUs, or lanes on the CPU; the first is what the others are held against.

    Raises ConfigError where there are not so many, and AispError where a run of the plan fails.
    """
    cores = len(os.sched_getaffinity(0))
    lane_cores = max(1, min(2, cores // max(counts)))
    settings = {"cases": cases, "measure": setting, "lane_cores": lane_cores, "counts": list(counts)}
    rows = Rows("spread", COLUMNS, console, device, out, settings)
    with tempfile.TemporaryDirectory(prefix="aisp-spread-") as folder:
        threads = max(1, cores // max(counts) - 1)
        save_plan(plan(Path(folder), device, cases, measure(setting), threads), Path(folder) / "plan.json")
        first: dict[Any, dict[str, Any]] = {}
        for count in counts:
            before = _cpu_s()
            seconds, found = timed(Path(folder), device, count, lane_cores)
            spent = [now - then for now, then in zip(_cpu_s(), before, strict=True)]
            used = len({r["lane"]["number"] for r in found.values() if "lane" in r}) or 1
            if used < min(count, cases):
                raise ConfigError(f"{count} lanes: {used} did any case. Are there {count} GPUs, and {lane_cores} cores a lane?")
            first = first or found
            row = {"lanes": count, "seconds": seconds, "scaling": rows.rows[0]["seconds"] / seconds if rows.rows else 1.0}
            row["others"] = max(0.0, spent[0] - spent[1]) / (seconds * (os.cpu_count() or 1))
            rows.add(row | summary(first, found))
    return rows


def _cpu_s() -> tuple[float, float]:
    """(CPU time that all of the machine's cores were busy, that of this process's ended children), s since the start."""
    words = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    busy = sum(words) - words[3] - words[4]
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return busy / os.sysconf("SC_CLK_TCK"), own.ru_utime + own.ru_stime


def plan(folder: Path, device: str, count: int, how: Measure, threads: int) -> Plan:
    """So many additions of different sizes; every fourth compares the baseline with a copy of itself."""
    path = folder / "kernel.py"
    path.write_text(KERNEL, "utf-8")
    source = describe(path)
    variants = {name: Variant(name, source, name) for name in ("reference", "chunked", "fused", "same")}
    made = [_case(device, number, variants, how, threads) for number in range(count)]
    return Plan(tuple(made))


def _case(device: str, number: int, variants: dict[str, Variant], how: Measure, threads: int) -> Case:
    n = SMALLEST[device] // 16 * (16 + number % 16)
    tensor = Tensor("a", (n,), "float32", "activation")
    return Case(
        workload=f"spread_{number // 16}",
        question="Does one addition beat sixteen?",
        group="",
        origin="spread.yaml",
        axes={"n": n},
        held_out=False,
        device=device,
        inputs=(tensor, Tensor("b", (n,), "float32", "activation")),
        outputs=(Tensor("c", (n,), "float32", "output", rtol=1e-6, because="one addition, rounded once"),),
        reference=variants["reference"],
        baseline=variants["chunked"],
        optimized=variants["same" if number % 4 == 3 else "fused"],
        threads=threads,
        measure=how,
        limits=Limits(),
        protections=registry.select({"mode": "strict"}),
    )


def timed(folder: Path, device: str, count: int, lane_cores: int) -> tuple[float, dict[Any, dict[str, Any]]]:
    """(wall time of a run, s; its records by case). Raises AispError where it fails."""
    run_dir = folder / f"lanes{count}"
    lanes = ["--gpus", str(count)] if device == "cuda" else ["--cpu-lanes", str(count)]
    command = [sys.executable, "-m", "aisp_runner.execute", str(folder / "plan.json"), "--run-dir", str(run_dir)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, *lanes, "--lane-cores", str(lane_cores)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise AispError(f"{count} lanes: the run ended with exit code {done.returncode}: {(done.stderr or done.stdout)[-800:]}")
    return seconds, {(r["workload"], r["case"]["axes"]["n"]): r for r in record.read(run_dir / record.FILE)}


def summary(first: dict[Any, dict[str, Any]], found: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    """What a run gave, and in how many cases it gave another thing than the first run."""
    pairs = [(first[key], r) for key, r in sorted(found.items())]
    valid = [r for r in found.values() if r["status"] == "VALID" and r["speedup"]]
    same = [r for r in valid if r["variant"] == "same"]
    off = [abs(math.log(r["speedup"]["value"])) for r in same]
    floors = [r["speedup"]["floor"] for r in valid]
    return {
        "valid": len(valid),
        "status_differs": sum(a["status"] != b["status"] for a, b in pairs),
        "outcome_differs": sum(a["outcome"] != b["outcome"] for a, b in pairs),
        "speedup_differs": sum(differ(a, b) for a, b in pairs),
        "floor_median": statistics.median(floors) if floors else None,
        "same_median": statistics.median(off) if off else None,
        "same_worst": max(off, default=None),
        "same_decided": sum(r["outcome"] in ("FASTER", "SLOWER") for r in same),
        "reasons": sorted({reason for r in found.values() for reason in r["reasons"]}),
        "seconds_a_case": statistics.median([r["stages_s"]["total"] for r in found.values()]),
        "cases": [_brief(r) for _, r in sorted(found.items())],
    }


def differ(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two speed-ups differ by more than twice the larger noise floor, and their intervals do not meet.

    False where one of the records has none: that is a difference of status.
    """
    one, other = a["speedup"], b["speedup"]
    if not one or not other:
        return False
    apart = abs(math.log(one["value"] / other["value"])) > 2 * max(one["floor"], other["floor"])
    return bool(apart and (one["high"] < other["low"] or other["high"] < one["low"]))


def _brief(r: dict[str, Any]) -> dict[str, Any]:
    s = r["speedup"] or {}
    told = {key: s.get(key) for key in ("value", "low", "high", "floor")}
    lane = r.get("lane") or {}
    of = {"workload": r["workload"], "n": r["case"]["axes"]["n"], "variant": r["variant"], "status": r["status"]}
    return of | {"outcome": r["outcome"], "lane": lane.get("number"), "gpu": (lane.get("gpu") or {}).get("index")} | told
