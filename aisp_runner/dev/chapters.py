"""Brings a run's results into the chapters: soft ranges into expected.yaml, the table of an H200 into README.md.

python -m aisp_runner.dev.chapters --command TEXT RUN_DIR ...        of these runs, whose records are not kept
python -m aisp_runner.dev.chapters                                   of the records kept in docs/results/*/chNN.jsonl
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.content import content_root
from aisp_runner.learn import GENERATED, expected, machine_of, write_expected
from aisp_runner.report import case_text, has_numbers, to_markdown

SOFT = {"kernel": 1.2, "wall": 1.5}
"""A range reaches at least this far around the measured speed-up. Kernels of one kind of machine differ by less; what a host
takes to launch them differed by tens of percent between two machines of one kind (docs/results).
"""

COMMANDS = {
    "h200": "aisp-run +chapter={name} measure=quick verify.phase=gate",
    "cpu": "aisp-run +chapter={name} verify.phase=gate",
}
"""What was run for the records of each folder below docs/results."""

SHOWN = "h200"
"""The folder below docs/results whose tables the pages show."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0; the files that were written are named."""
    parser = argparse.ArgumentParser(prog="python -m aisp_runner.dev.chapters", description=__doc__)
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR")
    parser.add_argument("--command", default="", help="the command that was run, for expected.yaml")
    given = parser.parse_args(arguments)
    root = content_root()
    written = []
    if given.run_dirs and not given.command:
        parser.error("--command is wanted beside RUN_DIR: say what was run, such as 'aisp-run +suite=all measure=quick'")
    for run_dir in given.run_dirs:
        by_chapter: dict[str, list[dict[str, Any]]] = {}
        for r in record.standing(run_dir / record.FILE):
            by_chapter.setdefault(r["group"], []).append(r)
        written += [expect(root, name, own, given.command) for name, own in by_chapter.items()]
    for path in () if given.run_dirs else sorted((root / "docs" / "results").glob("*/ch??.jsonl")):
        command = COMMANDS[path.parent.name].format(name=path.stem)
        written.append(expect(root, path.stem, record.standing(path), command, path))
        if path.parent.name == SHOWN:
            written.append(tabulate(root, path))
    for path in dict.fromkeys(written):
        sys.stdout.write(f"{path.relative_to(root)}\n")
    return 0


def expect(root: Path, name: str, records: Sequence[dict[str, Any]], command: str, kept: Path | None = None) -> Path:
    """Writes the ranges of these records' machines, GPU and processor apart, into the chapter's expected.yaml; others' stay."""
    machines = expected(name, root)
    for machine in dict.fromkeys(map(machine_of, records)):
        own = [r for r in records if machine_of(r) == machine]
        machines[machine] = ranges(own, command, str(kept.relative_to(root)) if kept else "")
    return write_expected(name, machines, root)


def ranges(records: Sequence[dict[str, Any]], command: str, kept: str) -> dict[str, Any]:
    """What expected.yaml says of one machine."""
    machine = records[0]["machine"]
    speedups: dict[str, Any] = {}
    for r in records:
        if has_numbers(r):
            low, high = around(r)
            speedups.setdefault(r["workload"], {}).setdefault(r["variant"], {})[case_text(r)] = [low, high]
    versions = {"torch": machine.get("torch"), "triton": machine.get("triton"), "cores": machine.get("cores_usable")}
    versions |= {"driver": (machine.get("gpu") or {}).get("driver")}
    return {
        "command": command,
        "measured": str(records[0]["started"])[:10],
        **({"records": kept} if kept else {}),
        "versions": {key: value for key, value in versions.items() if value},
        "speedups": speedups,
    }


def around(r: dict[str, Any]) -> tuple[float, float]:
    """A record's interval, or SOFT around its speed-up where that is wider; two digits, rounded outwards."""
    s, soft = r["speedup"], SOFT[r["clock"]["claim"]]
    return _outwards(min(s["low"], s["value"] / soft), math.floor), _outwards(max(s["high"], s["value"] * soft), math.ceil)


def _outwards(value: float, rounded: Any) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{rounded(value / unit) * unit:.2g}")


def tabulate(root: Path, path: Path) -> Path:
    """Puts the table of these records at the end of the chapter's page, in the place of the one before."""
    page = root / "chapters" / path.stem / "README.md"
    records = record.standing(path)
    written, own = page.read_text("utf-8").partition(GENERATED)[0].rstrip(), path.relative_to(root)
    raw = f"Raw samples and evidence: [{own}](../../{own})."
    told = f"{raw} Soft ranges for other runs: [expected.yaml](expected.yaml), `aisp learn {path.stem}`."
    machines = dict.fromkeys(map(machine_of, sorted(records, key=lambda r: r["case"]["device"] != "cuda")))
    heading = f"## Seen on an {' and an '.join(machines)}"
    parts = [
        written,
        f"{GENERATED}{own} by python -m aisp_runner.dev.chapters -->\n{heading}",
        told,
        to_markdown(records, ()).rstrip(),
    ]
    page.write_text("\n\n".join(parts) + "\n", "utf-8")
    return page


if __name__ == "__main__":
    sys.exit(main())
