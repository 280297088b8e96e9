"""How long commands take that measure nothing, each in a fresh process."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aisp_runner.content import content_root
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.errors import AispError
from aisp_runner.report import Console

WORKLOADS = 400
COLUMNS = (
    Column("what", "command"),
    Column("seconds", "median s", 3),
    Column("fastest", "fastest s", 3),
    Column("slowest", "slowest s", 3),
    Column("runs"),
)


def run(console: Console, out: Path | None = None, runs: int = 5, workloads: int = WORKLOADS) -> Rows:
    """Medians of `runs` fresh processes; `workloads` are generated for the last listing."""
    rows = Rows("startup", COLUMNS, console, out=out, settings={"runs": runs, "workloads": workloads})
    with tempfile.TemporaryDirectory(prefix="aisp-startup-") as folder:
        generate(Path(folder), workloads)
        for name, words in commands(Path(folder), workloads).items():
            times = [seconds(words) for _ in range(runs)]
            row = {"what": name, "seconds": statistics.median(times), "fastest": min(times), "slowest": max(times)}
            rows.add(row | {"runs": runs, "times": times})
    return rows


def commands(folder: Path, workloads: int) -> dict[str, list[str]]:
    """What is timed, by the name in the table."""
    python, own = sys.executable, "aisp_runner"
    workload = sorted((content_root() / "conf" / "workload").glob("*.yaml"))[0].stem
    imports = ("aisp_runner.cli", "aisp_runner.execute", "hydra", "torch")
    return {
        "python -c pass": [python, "-c", "pass"],
        "aisp-run --help": [python, "-m", f"{own}.cli", "--help"],
        "aisp list": [python, "-m", f"{own}.aisp", "list"],
        f"aisp list, {workloads} more": [python, "-m", f"{own}.aisp", "list", "--config-dir", str(folder)],
        "aisp-run --cfg job": [python, "-m", f"{own}.cli", f"+workload={workload}", "--cfg", "job"],
        **{f"import {module}": [python, "-c", f"import {module}"] for module in imports},
    }


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command. Raises AispError when it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        shown = " ".join(["python", *command[1:3]])
        raise AispError(f"startup: {shown} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return taken


def generate(folder: Path, count: int) -> None:
    """Workloads like the first one that the runner brings along, with their kernel file, as a config folder of a user."""
    first = sorted((content_root() / "conf" / "workload").glob("*.yaml"))[0]
    text = first.read_text("utf-8")
    source = next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("source:"))
    shutil.copy(content_root() / source, folder / "kernel.py")
    (folder / "workload").mkdir()
    for number in range(count):
        made = text.replace(f"source: {source}", "source: ../kernel.py")
        (folder / "workload" / f"generated_{number:04}.yaml").write_text(made, "utf-8")
