"""Small runs on the CPU for tests of what goes on in a run's folder later."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

from bench import case

from aisp_runner import record
from aisp_runner.case import Plan
from aisp_runner.execute import Ways, run_plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.pool import Pool
from aisp_runner.report import Console

SIZES = (2048, 4096, 8192)


def small_plan(folder: Path, sizes: tuple[int, ...] = SIZES, **changes: Any) -> Plan:
    """One workload at several sizes; its kernel file is FOLDER/kernel.py."""
    return Plan(tuple(case(folder, n=n, **changes) for n in sizes))


def ran(plan: Plan, run_dir: Path, server: ForkServer, ways: Ways | None = None) -> str:
    """Runs a plan on the fork server of the tests; gives what the console was told."""
    told, pool = io.StringIO(), Pool()
    pool.servers["cpu"] = server
    try:
        run_plan(plan, run_dir, Console(told, width=400), pool, ways=ways or Ways())
    finally:
        for crew in pool.crews.values():
            crew.dismiss()
        for state in pool.states.values():
            state.close()
    return told.getvalue()


def resumed(plan: Plan, run_dir: Path, server: ForkServer, **ways: Any) -> str:
    """The same, in a folder that holds a run."""
    return ran(plan, run_dir, server, Ways(resume=True, **ways))


def lines(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run's folder, each held to the schema."""
    return record.read(run_dir / record.FILE)


def sizes_of(records: list[dict[str, Any]]) -> list[int]:
    return [r["case"]["axes"]["n"] for r in records]


def cut(run_dir: Path, to: Path, keep: int, torn: bytes = b"") -> Path:
    """A copy of a run as it is after so many records, with the beginning of a further one behind them."""
    shutil.copytree(run_dir, to)
    whole = (to / record.FILE).read_bytes().splitlines(keepends=True)
    (to / record.FILE).write_bytes(b"".join(whole[:keep]) + torn)
    return to


def shrunk(plan: Plan, *places: int) -> Plan:
    """A plan with only these of its cases."""
    return dataclasses.replace(plan, cases=tuple(plan.cases[place] for place in places))


def rewritten(path: Path, place: int, **changes: Any) -> None:
    """Edits a record in the file as with an editor."""
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    records[place] |= changes
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
