"""Benchmarks of the runner itself, each a table and a JSON file that grows row by row.

python -m aisp_runner.dev.bench clock|repeat|effects|coverage|overhead|protections|spread|startup
                                [--device cpu|cuda] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner.dev.settings import SETTINGS
from aisp_runner.errors import AispError
from aisp_runner.report import Console

WIDTH = 240

HELP = {
    "clock": "the sealed clock and the device's time stamps beside CUPTI, do_bench, do_bench_cudagraph and events",
    "repeat": "a function against itself: quiet, with a neighbour, with every core busy",
    "effects": "true effects of 0.5, 1, 2 and 5 %: how often each is found",
    "coverage": "how often the interval holds the truth on simulated noise",
    "overhead": "where the time of a verdict goes",
    "protections": "what a verdict costs with all protections and with none, and whether the number changes",
    "spread": "the same plan on several GPUs or CPU lanes: wall time, and whether what is measured stays the same",
    "startup": "commands that measure nothing",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 with a message."""
    given = parser().parse_args(arguments)
    try:
        run(given, Console(width=WIDTH))
    except AispError as error:
        sys.stderr.write(f"bench: error: {error}\n")
        return 2
    return 0


def run(given: argparse.Namespace, console: Console) -> None:
    """Runs one benchmark. Its module is imported only now: simulations need no torch."""
    if given.what == "coverage":
        from aisp_runner.dev import coverage

        coverage.run(console, given.out, given.trials, given.effect_trials, given.jobs)
    elif given.what == "startup":
        from aisp_runner.dev import startup

        startup.run(console, given.out, given.runs or 5, given.workloads)
    elif given.what == "spread":
        from aisp_runner.dev import spread

        spread.run(
            console, given.device, given.gpus if given.device == "cuda" else given.lanes, given.cases, given.measure, given.out
        )
    elif given.what == "clock":
        from aisp_runner.dev import clock

        clock.run(console, given.device, given.out, given.runs or 5, given.only, **_changes(given))
    elif given.what == "overhead":
        from aisp_runner.dev import overhead

        overhead.run(console, given.device, given.runs or 3, given.out)
    elif given.what == "protections":
        from aisp_runner.dev import protections

        protections.run(console, given.device, given.runs or 7, given.out, only=given.only)
    else:
        _repeat(given, console)


def _repeat(given: argparse.Namespace, console: Console) -> None:
    from aisp_runner.dev import company, repeat

    common = (console, given.device, given.runs or 10, given.measure, given.margin, given.out)
    if given.what == "effects":
        repeat.effects(*common, **_changes(given))
        return
    conditions = tuple(c for c in company.CONDITIONS if given.condition in ("", c))
    repeat.repeat(*common, only=given.only, conditions=conditions, **_changes(given))


def _changes(given: argparse.Namespace) -> dict[str, Any]:
    """The fields of Measure that the command line names."""
    return {
        key: getattr(given, key)
        for key in ("processes", "rounds", "mode", "device_clock")
        if getattr(given, key, None) is not None
    }


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    from aisp_runner.dev.company import CONDITIONS

    made = argparse.ArgumentParser(prog="python -m aisp_runner.dev.bench", description=(__doc__ or "").split("\n")[0])
    kinds = made.add_subparsers(dest="what", required=True)
    for name, text in HELP.items():
        kind = kinds.add_parser(name, help=text.replace("%", "%%"), description=text)
        kind.add_argument("--out", type=Path, help="write the rows as JSON")
        kind.add_argument("--runs", type=int, help="fresh runs, repeats or further cases of each row")
        if name not in ("coverage", "startup"):
            kind.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        if name in ("clock", "repeat", "protections"):
            kind.add_argument("--only", default="", help="operations whose name contains this")
        if name == "spread":
            kind.add_argument("--gpus", type=_counts, default=(1, 2, 4), help="numbers of GPUs, with commas between")
            kind.add_argument("--lanes", type=_counts, default=(1, 2), help="the same of lanes, on the CPU")
            kind.add_argument("--cases", type=int, default=64)
            kind.add_argument("--measure", choices=SETTINGS, default="quick", help="setting of each case")
        if name in ("repeat", "effects"):
            kind.add_argument("--measure", choices=SETTINGS, default="standard", help="setting of each run")
            kind.add_argument("--margin", type=float, default=0.01)
            kind.add_argument("--mode", choices=("auto", "graph", "gated", "wall"))
        if name in ("clock", "repeat", "effects"):
            kind.add_argument("--processes", type=int)
            kind.add_argument("--rounds", type=int)
            kind.add_argument("--device-clock", choices=("cupti", "kineto", "off"), help="the workers' own time stamps")
        if name == "repeat":
            kind.add_argument("--condition", choices=("", *CONDITIONS), default="", help="one of them instead of all")
        if name == "coverage":
            kind.add_argument("--trials", type=int, default=2000, help="runs without a true effect in each cell")
            kind.add_argument("--effect-trials", type=int, default=150, help="runs with each true effect")
            kind.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
        if name == "startup":
            kind.add_argument("--workloads", type=int, default=400)
    return made


def _counts(text: str) -> tuple[int, ...]:
    """1,2,4 as numbers, each at least 1."""
    found = tuple(int(word) for word in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


if __name__ == "__main__":
    sys.exit(main())
