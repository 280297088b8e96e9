"""`aisp learn`: a chapter's page in the terminal, and what its comparisons are expected to give here and elsewhere.

chapters/NAME/README.md is the page; chapters/NAME/expected.yaml holds soft ranges by machine, made from records
(`python -m aisp_runner.dev.chapters`). Beside them stands what the newest run of the chapter gave, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.report import case_text, clean, has_numbers

HEAD = "# Made from records by `python -m aisp_runner.dev.chapters`; soft: a run outside of them is a question, not a fault.\n"
"""The first line of expected.yaml."""

GENERATED = "<!-- generated from "
"""Begins the part of a page that is made from records; the terminal shows the ranges instead."""


@dataclass(frozen=True)
class Comparison:
    """One row below a chapter's page."""

    workload: str
    variant: str
    case: str
    ranges: dict[str, tuple[float, float]]
    """Lowest and highest speed-up that is no surprise, by machine."""
    yours: float | None
    """The speed-up of the newest run; None where it has none, or was not accepted."""
    here: str
    """The machine of that run, "" without one."""

    def surprise(self) -> bool:
        """Whether the newest run lies outside what its own kind of machine gave before."""
        known = self.ranges.get(self.here)
        return known is not None and self.yours is not None and not known[0] <= self.yours <= known[1]


def page(name: str, root: Path | None = None) -> str:
    """The chapter's page as Markdown, without what is generated. Raises ConfigError for a chapter without one."""
    folder = (root or content_root()) / "chapters"
    path = folder / name / "README.md"
    if not path.is_file():
        known = sorted(p.parent.name for p in folder.glob("*/README.md"))
        raise ConfigError(f"{name!r} is no chapter with a page.{did_you_mean(name, known)} There are: {', '.join(known)}.")
    return path.read_text("utf-8").partition(GENERATED)[0].rstrip() + "\n"


def expected(name: str, root: Path | None = None) -> dict[str, Any]:
    """What is expected of a chapter, by machine; empty where nothing was kept. Raises ConfigError for another kind of file."""
    import yaml

    from aisp_runner.record import complaints

    path = (root or content_root()) / "chapters" / name / "expected.yaml"
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text("utf-8"))
    if wrong := complaints(content, "expected"):
        raise ConfigError(f"{shown(path)}: {wrong[0]} Make it again: python -m aisp_runner.dev.chapters RUN_DIR.")
    return dict(content["machines"])


def write_expected(name: str, machines: dict[str, Any], root: Path | None = None) -> Path:
    """Writes what is expected of a chapter, machines by name; gives the file."""
    import yaml

    path = (root or content_root()) / "chapters" / name / "expected.yaml"
    content = {"format": 1, "machines": dict(sorted(machines.items()))}
    path.write_text(HEAD + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=128), "utf-8")
    return path


def machine_of(record: dict[str, Any]) -> str:
    """The name by which ranges are kept: the GPU's, or the processor's."""
    gpu = record["machine"].get("gpu") or {}
    name = gpu.get("name") if record["case"]["device"] == "cuda" else record["machine"].get("cpu")
    return str(name or "unknown")


def comparisons(machines: dict[str, Any], records: Sequence[dict[str, Any]]) -> list[Comparison]:
    """Every comparison that a machine has a range for or that the run has, in the order of the run and then of the file."""
    here = machine_of(records[0]) if records else ""
    yours = {_key(r): (r["speedup"]["value"] if has_numbers(r) else None) for r in records}
    ranges: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {key: {} for key in yours}
    for machine, told in machines.items():
        for key, (low, high) in _ranges(told["speedups"]):
            ranges.setdefault(key, {})[machine] = (low, high)
    return [Comparison(*key, own, yours.get(key), here) for key, own in ranges.items()]


def table(rows: Sequence[Comparison], machine: str) -> list[tuple[str, ...]]:
    """Heading and rows of one machine as text; a workload is told in its first row. What the newest run gave stands where it
    was this machine's kind.
    """
    own = [row for row in rows if machine in row.ranges or (row.here == machine and row.yours is not None)]
    yours = any(row.here == machine for row in own)
    made: list[tuple[str, ...]] = [("workload", "variant", "case", "expected", *(("your newest run",) if yours else ()))]
    before = ""
    for row in own:
        told = "" if row.yours is None else f"{row.yours:.2f}x{' (!)' if row.surprise() else ''}"
        first = row.workload if row.workload != before else ""
        made.append((first, row.variant, row.case, _range_text(row.ranges.get(machine)), *((told,) if yours else ())))
        before = row.workload
    return made


def show(text: str, rows: Sequence[Comparison], machines: dict[str, Any]) -> None:
    """Prints the page, and below it the ranges with where they come from."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    console = Console()
    console.print(Markdown(text))
    if not rows:
        console.print("\nNothing is expected of it yet: no run of it was kept.", highlight=False)
        return
    for machine in dict.fromkeys([*machines, *(row.here for row in rows if row.here)]):
        heading, *cells = table(rows, machine)
        drawn = Table(title=f"Expected speed-ups, {clean(machine)}", title_justify="left", box=None)
        for place, name in enumerate(heading):
            drawn.add_column(name, justify="left" if place < 3 else "right", no_wrap=place != 2)
        for row in cells:
            drawn.add_row(*map(clean, row), style="bold" if row[-1].endswith("(!)") else "")
        console.print("", drawn)
        if machine in machines:
            console.print(provenance(machines[machine]), style="dim", markup=False, highlight=False)
    if any(row.surprise() for row in rows):
        console.print(
            "(!) outside what this kind of machine gave before: compare versions, clocks and neighbours (aisp doctor)."
        )


def provenance(told: dict[str, Any]) -> str:
    """What was run, when, with what."""
    versions = ", ".join(f"{name} {value}" for name, value in told["versions"].items())
    kept = f"; records in {told['records']}" if "records" in told else ""
    return clean(f"{told['command']} on {told['measured']} ({versions}){kept}")


def newest_of(name: str, runs: Path = Path("runs")) -> list[dict[str, Any]]:
    """The records of the newest run that has any of this chapter, of this chapter alone; [] where there is none."""
    from aisp_runner import record

    for path in sorted(runs.glob(f"*/{record.FILE}"), key=lambda p: p.stat().st_mtime, reverse=True):
        own = [r for r in record.standing(path) if r["group"] == name]
        if own:
            return own
    return []


def _key(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["workload"], record["variant"], case_text(record)


def _ranges(speedups: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str], tuple[float, float]]]:
    for workload, variants in speedups.items():
        for variant, cases in variants.items():
            for case, (low, high) in cases.items():
                yield (workload, variant, case), (low, high)


def _range_text(known: tuple[float, float] | None) -> str:
    return f"{known[0]:g} to {known[1]:g}x" if known else ""
