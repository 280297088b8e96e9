"""What a first verdict takes with everything included: the command `aisp-run` on one case, in a fresh process each time."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.dev.startup import seconds
from aisp_runner.new.workload import workload

NAME = "saxpy"


def run(device: str, runs: int) -> dict[str, Any]:
    """The median of `runs` commands, s, and of what their record's stages took; the rest is Python, imports, planning and the
    end. `times` has each. What is compared is what `aisp new workload` makes, without its held-out size. Raises AispError.
    """
    times, stages, problems = [], [], []
    with tempfile.TemporaryDirectory(prefix="aisp-whole-") as folder:
        _write(Path(folder))
        for number in range(runs):
            run_dir = Path(folder) / f"run-{number}"
            times.append(seconds([*_command(Path(folder), device), f"run_dir={run_dir}"]))
            made = json.loads((run_dir / record.FILE).read_text())
            stages.append(made["stages_s"])
            problems.append("" if made["status"] == "VALID" else f"{made['status']} {', '.join(made['reasons'])}")
    inside = {key: statistics.median(s.get(key, 0.0) for s in stages) for key in ("start", "calibrate", "measure")}
    whole = statistics.median(times)
    problem = next(filter(None, problems), "")
    return {"seconds": whole, **inside, "rest": whole - sum(inside.values()), "times": times, "problem": problem}


def _command(folder: Path, device: str) -> list[str]:
    settings = [f"device={device}", "measure=quick", "verify.phase=detect"]
    return [sys.executable, "-m", "aisp_runner.cli", "--config-dir", str(folder), f"+workload={NAME}", *settings]


def _write(folder: Path) -> None:
    """The files of a new workload, in one size."""
    made = workload(NAME, folder)
    made.write()
    yaml = folder / "workload" / f"{NAME}.yaml"
    lines = yaml.read_text("utf-8").splitlines(keepends=True)
    start = lines.index("held_out:\n")
    rest = itertools.dropwhile(lambda line: line.startswith(" "), lines[start + 1 :])
    yaml.write_text("".join([*lines[:start], *rest]), "utf-8")
