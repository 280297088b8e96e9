"""One comparison through the real line, and what a record says of it."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.case import Case, Plan
from aisp_runner.execute import Pool, run_plan
from aisp_runner.report import Console


@contextlib.contextmanager
def pooled(given: Pool | None) -> Iterator[Pool]:
    """The given fork servers, which go on running, or some for the block."""
    if given is not None:
        yield given
        return
    with Pool() as own:
        yield own


def run(case: Case, pool: Pool, fresh: bool = True) -> dict[str, Any]:
    """The record of a case; `seconds` is what the whole run took on the wall.

    fresh: with worker processes that no other case has used. Otherwise trusted ones may be kept, as within a run of many cases.
    """
    if fresh:
        dismiss(pool)
    with tempfile.TemporaryDirectory(prefix="aisp-bench-") as folder:
        start = time.perf_counter()
        run_plan(Plan((case,)), Path(folder), Console(io.StringIO()), pool)
        seconds = time.perf_counter() - start
        made = record.read(Path(folder) / record.FILE)[0]
    return made | {"seconds": seconds}


def dismiss(pool: Pool) -> None:
    """Ends the trusted processes that are kept for the next case."""
    for crew in pool.crews.values():
        crew.dismiss()


def told(made: dict[str, Any]) -> str:
    """Why a record has no number: its status with the first reason. "" where it has one."""
    if made["status"] == "VALID" and made["speedup"]:
        return ""
    return f"{made['status']} {', '.join(made['reasons'])}: {made['message'][:200]}"


def timed(made: dict[str, Any]) -> list[dict[str, Any]]:
    """The long batches that the sealed clock's speed-up comes from."""
    calls = made["clock"]["calls"]
    long = {"baseline": calls["baseline"][1], "candidate": calls["candidate"][1], "control": calls["baseline"][1]}
    return [s for s in made["samples"] if s["purpose"] == "round" and s["calls"] == long[s["arm"]]]


def by_worker(made: dict[str, Any]) -> dict[tuple[int, str], list[float]]:
    """Sealed times a call, us, of each worker process, by set and arm: a worker is a repetition."""
    found: dict[tuple[int, str], list[float]] = {}
    for s in timed(made):
        time_us = (s["done_ns"] - s["issued_ns"]) / 1e3 - made["clock"]["handshake_us"]
        found.setdefault((s["process"], s["arm"]), []).append(time_us / s["calls"])
    return found
