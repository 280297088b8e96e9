"""What tests of the runner's core share: a small case over a kernel file that the test writes, and the way to its record."""

from __future__ import annotations

import gc
import os
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from aisp_runner.case import Case, Limits, Measure, Plan, Tensor, Variant
from aisp_runner.crew import Crew
from aisp_runner.device import open_device
from aisp_runner.execute import Bench, run_case
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import Judge
from aisp_runner.plan_file import save_plan
from aisp_runner.pool import Pool
from aisp_runner.protect import registry
from aisp_runner.protect.registry import Shields
from aisp_runner.report import Console
from aisp_runner.sources import describe

KERNEL = """
import json, os, signal, socket, subprocess, sys, time
import torch

def reference(a, b):
    return a + b

def baseline(a, b, c):
    for i in range(0, a.numel(), 1024):
        torch.add(a[i : i + 1024], b[i : i + 1024], out=c[i : i + 1024])

"""

HONEST = """
def candidate(a, b, c):
    torch.add(a, b, out=c)
"""

QUICK = Measure(processes=1, control=False, rounds=2, min_rounds=2, half_width=10.0, calls=(4, 32), verify_seconds=0.002)
"""Two rounds of one set of processes: enough for everything but the speed-up itself."""

LIMITS = Limits(start_seconds=20.0, batch_seconds=5.0, memory_gib=2.0, output_mib=1.0)


def kernel(folder: Path, code: str = HONEST) -> Path:
    """FOLDER/kernel.py: reference and baseline of c = a + b, and the text of a candidate."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kernel.py"
    path.write_text(KERNEL + textwrap.dedent(code), "utf-8")
    return path


def case(folder: Path, code: str = HONEST, *, returns: bool = False, n: int = 16384, **changes: Any) -> Case:
    """c = a + b of n elements on the CPU, by the function `candidate` of the given text. changes: other fields of the Case."""
    source = describe(kernel(folder, code))
    fields: dict[str, Any] = {
        "workload": "addition",
        "question": "Is one addition faster than eight?",
        "group": "",
        "origin": "addition.yaml",
        "axes": {"n": n},
        "held_out": False,
        "device": "cpu",
        "inputs": (Tensor("a", (n,), "float32", "activation"), Tensor("b", (n,), "float32", "activation")),
        "outputs": (Tensor("c", (n,), "float32", "output", rtol=1e-6, because="one addition, rounded once"),),
        "reference": Variant("reference", source, "reference"),
        "baseline": Variant("baseline", source, "baseline"),
        "optimized": Variant("candidate", source, "candidate", returns),
        "measure": QUICK,
        "limits": LIMITS,
        "protections": registry.select({"mode": "strict"}),
    }
    return Case(**(fields | changes))


def opened(
    server: ForkServer,
    folder: Path,
    code: str = HONEST,
    *,
    kind: type[Judge] = Judge,
    state: Any = None,
    crew: Crew | None = None,
    **changes: Any,
) -> Judge:
    """A judge whose oracle, baseline and candidate are ready. changes: fields of the Case."""
    given = case(folder, code, **changes)
    staging = Path(tempfile.mkdtemp(prefix="staging-", dir=folder))
    judge = kind(given, open_device("cpu"), server, Shields(given.protections), staging, state, crew)
    try:
        judge.start_oracle()
        judge.start_candidate()
    except BaseException as error:
        judge.__exit__(type(error))
        raise
    return judge


def bench_of(plan: Plan, run_dir: Path, server: ForkServer | None = None) -> Bench:
    """A run of this plan, with plan.json on the disk."""
    save_plan(plan, run_dir / "plan.json")
    made = Bench(plan, run_dir, Console(), Pool())
    if server is not None:
        made.pool.servers["cpu"] = server
    return made


def tried(given: Case, server: ForkServer, run_dir: Path) -> dict[str, Any]:
    """The record of one case, whose trusted processes are ended afterwards."""
    return tried_on(bench_of(Plan((given,)), run_dir, server), given)


def tried_on(bench: Bench, given: Case) -> dict[str, Any]:
    """The same on a bench that is there already. The server goes on: it belongs to all tests."""
    try:
        return run_case(given, bench)
    finally:
        for crew in bench.pool.crews.values():
            crew.dismiss()
        for state in bench.pool.states.values():
            state.close()
        bench.pool.crews.clear()
        bench.pool.states.clear()


UPSET_BY_LOAD = ("timing.resolution", "timing.drain_bound", "timing.wall_clock_bound")
"""What a busy machine may say of a case as short as these."""


def accepted(record: dict[str, Any]) -> bool:
    """Whether nothing but the clock of a busy machine speaks against a record."""
    return record["status"] != "ERROR" and set(record["reasons"]) <= set(UPSET_BY_LOAD)


def lives(pid: int) -> bool:
    """Whether a process is there and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files() -> int:
    """File descriptors that this process holds, but for those of garbage."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
