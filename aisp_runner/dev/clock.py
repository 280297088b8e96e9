"""What the product's clocks say of operations of known length, beside CUPTI's own median and what other timers say.

An operation is held against itself, so every worker process of a run is one repetition: `sd` is over workers.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from aisp_runner.dev import company, line
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.dev.settings import measure
from aisp_runner.dev.workloads import Operation, clock_operations
from aisp_runner.execute import Pool
from aisp_runner.report import Console

MODES = ("graph", "gated", "wall")

CUDA_COLUMNS = (
    Column("op", "operation"),
    Column("truth_us", "CUPTI us", 3),
    *(Column(f"{mode}_{key}", title, 3) for mode in MODES for key, title in (("us", mode), ("bias", "bias"), ("sd", "sd"))),
    Column("reported_us", "reported", 3),
    Column("reported_off", "off %", 2, 100),
    Column("stamps_us", "own stamps", 3),
    Column("cupti_hot_us", "hot CUPTI", 3),
    Column("do_bench_us", "do_bench", 3),
    Column("do_bench_cudagraph_us", "cudagraph", 3),
    Column("events_us", "events", 3),
    Column("problem"),
)
CPU_COLUMNS = (
    Column("op", "operation"),
    Column("truth_us", "perf_counter us", 1),
    Column("wall_us", "sealed", 1),
    Column("wall_bias", "bias", 1),
    Column("wall_sd", "sd", 1),
    Column("problem"),
)


def run(
    console: Console,
    device: str,
    out: Path | None = None,
    repeats: int = 5,
    only: str = "",
    pool: Pool | None = None,
    **changes: Any,
) -> Rows:
    """One row an operation whose name contains `only`. A mode is one run, of at least `repeats` workers. changes: fields of
    Measure. pool: fork servers to use and leave running.
    """
    modes = MODES if device == "cuda" else ("wall",)
    settings = {"repeats": repeats, "modes": modes, "measure": changes}
    rows = Rows("clock", CUDA_COLUMNS if device == "cuda" else CPU_COLUMNS, console, device, out, settings)
    words = ("clock", "--device", device, "--repeats", str(repeats), "--only", only)
    peers = {answer.pop("op"): answer for answer in company.answers(*words)}
    with line.pooled(pool) as pool:
        for operation in clock_operations(device, only):
            row = {"op": operation.name} | peer_values(peers[operation.name], device)
            for mode in modes:
                row |= product_values(operation, device, mode, row["truth_us"], pool, repeats, changes)
            rows.add(row)
    return rows


def peer_values(answer: dict[str, list[float]], device: str) -> dict[str, Any]:
    """Medians of the repeats, with their standard deviations; `truth_us` is CUPTI's median of calls on cold slots."""
    row: dict[str, Any] = {f"{peer}_us": statistics.median(times) for peer, times in answer.items()}
    row |= {f"{peer}_sd": _sd(times) for peer, times in answer.items()}
    return row | {"truth_us": row["cupti_cold_us" if device == "cuda" else "perf_counter_us"], "peers": answer}


def product_values(
    operation: Operation, device: str, mode: str, truth_us: float, pool: Pool, repeats: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """What one run in this mode gives: the sealed clock's time a call, its bias and its spread over workers.

    The device's own time stamps are asked for in the first mode only: `stamps_us`.
    """
    stamps = {} if mode == MODES[0] else {"device_clock": "off"}
    wanted = {"processes": -(-repeats // 2), "control": False, "rounds": 4, "serial": 0, **changes, **stamps}
    made = line.run(operation.case(device, measure("standard", mode=mode if device == "cuda" else "auto", **wanted)), pool)
    problem = line.told(made)
    if problem:
        return {"problem": f"{mode}: {problem}"}
    if device == "cuda" and made["clock"]["mode"] != mode:
        return {"problem": f"{mode}: ran as {made['clock']['mode']}, {made['clock']['why_not_gated']}"}
    workers = [statistics.median(times) for times in line.by_worker(made).values()]
    found = statistics.median(workers)
    row: dict[str, Any] = {f"{mode}_us": found, f"{mode}_bias": found - truth_us, f"{mode}_off": found / truth_us - 1}
    row |= {f"{mode}_sd": _sd(workers), f"{mode}_workers_us": workers}
    row |= {f"{mode}_seconds": made["seconds"], f"{mode}_calls": made["clock"]["calls"]}
    if mode == MODES[0]:  # what a run reports that is left its choice
        row |= {"reported_us": made["clock"]["baseline_us"], "reported_off": made["clock"]["baseline_us"] / truth_us - 1}
    stamped = made["device_clock"] or {}
    return row | ({"stamps_us": stamped["busy_us"]["baseline"], "stamps": stamped} if "busy_us" in stamped else {})


def _sd(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
