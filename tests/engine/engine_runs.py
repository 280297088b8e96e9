"""Runs of many quick cases on the CPU by the real command line, for tests of engines on real schedulers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aisp_runner import record

ROOT = Path(__file__).resolve().parents[2]
KERNEL = """
import time
import torch

def reference(a):
    return a + 1

def loop(a, c):
    for i in range(0, a.numel(), 512):
        torch.add(a[i : i + 512], 1, out=c[i : i + 512])

def fast(a, c):
    if a.numel() in {hangs}:
        time.sleep(600)
    torch.add(a, 1, out=c)
"""
WORKLOAD = """
question: Is it faster?
source: ../k.py
baseline: loop
optimized: fast
inputs:
  a: {{shape: [n], dtype: float32}}
outputs:
  c: {{shape: [n], dtype: float32, rtol: 1.0e-6, atol: 0.0, because: "one addition, rounded once"}}
axes:
  cpu: {{n: [{sizes}]}}
"""
SELECTED = ("--config-dir", "mine", "+workload=eng", "device=cpu", "measure=quick", "threads=1", "limits.start_seconds=900")
QUICK = ("measure.processes=1", "measure.control=false", "measure.seconds=0.2", "limits.batch_seconds=900")


def files(folder: Path, sizes: Iterable[int], hangs: tuple[int, ...] = ()) -> None:
    """FOLDER/mine with a workload of one case a size. hangs: the sizes at which the optimized variant does not return."""
    (folder / "mine" / "workload").mkdir(parents=True)
    (folder / "mine" / "k.py").write_text(KERNEL.format(hangs=hangs))
    (folder / "mine" / "workload" / "eng.yaml").write_text(WORKLOAD.format(sizes=", ".join(map(str, sizes))))


def command(*words: str, selected: bool = True, environment: bool = False) -> Any:
    """The command line as a list; or the environment that it, and whatever runs its tasks, needs."""
    if environment:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))}
    program = [sys.executable, "-c", "from aisp_runner.cli import main; main()"]
    return [*program, *(SELECTED + QUICK if selected else ()), *words]


def accounted(run_dir: Path, cases: int) -> list[dict[str, Any]]:
    """The records of a run, which has one of each case: each held to the schema, and of another size."""
    records = record.read(run_dir / record.FILE)
    assert len(records) == cases == len({r["case"]["axes"]["n"] for r in records})
    return records
