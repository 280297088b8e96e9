"""One table of a machine's kept records: a line a workload, its best variant beside the library, and its share of the ceiling.

python -m aisp_runner.dev.summary [docs/results/h200]      writes summary.md there
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.case import Case
from aisp_runner.content import content_root
from aisp_runner.peak import roofline, store
from aisp_runner.plan import World, plan_of
from aisp_runner.report import case_text, has_numbers, microseconds, speedup_text

LIBRARY = "library"
"""Name of the variant that calls what a user would otherwise call."""

HEADINGS = ("workload", "case", "baseline us", "best variant", "speed-up", "outcome", "library", "of the ceiling")

HEAD = """Made by `python -m aisp_runner.dev.summary`. The largest declared size of each workload.

Of the ceiling: the best variant's declared bytes or operations a second over the highest rate measured on an {machine}
(peak.json), whichever is nearer.
"""


@dataclass(frozen=True)
class Row:
    """The largest case of a workload."""

    workload: str
    records: Sequence[dict[str, Any]]
    """Of this case, one a variant."""

    @property
    def best(self) -> dict[str, Any] | None:
        """The accepted variant with the highest speed-up, the library apart; None where none was accepted."""
        own = [r for r in self.records if has_numbers(r) and r["variant"] != LIBRARY]
        return max(own, key=lambda r: float(r["speedup"]["value"]), default=None)

    @property
    def called(self) -> dict[str, Any] | None:
        """The library's record, if it was accepted."""
        return next((r for r in self.records if has_numbers(r) and r["variant"] == LIBRARY), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; writes the table beside the records."""
    parser = argparse.ArgumentParser(
        prog="python -m aisp_runner.dev.summary", description="One line a workload, of a GPU's records."
    )
    default = content_root() / "docs" / "results" / "h200"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="with chNN.jsonl and peak.json")
    folder: Path = parser.parse_args(arguments).folder
    (folder / "summary.md").write_text(text(folder), "utf-8")
    sys.stdout.write(f"{folder / 'summary.md'}\n")
    return 0


def text(folder: Path) -> str:
    """The table as Markdown, from chNN.jsonl and peak.json of this folder."""
    records = [r for path in sorted(folder.glob("ch??.jsonl")) for r in record.standing(path)]
    peak = store.from_json(json.loads((folder / "peak.json").read_text("utf-8")))
    head = HEAD.format(machine=peak.name)
    lines = [head, "| " + " | ".join(HEADINGS) + " |", "|---|---|---:|---|---:|---|---:|---:|"]
    lines += ["| " + " | ".join(cell.replace("_", "\\_") for cell in cells(row, peak)) + " |" for row in rows(records)]
    return "\n".join(lines) + "\n"


def rows(records: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """A row a workload, in the order of the records: its last case that is not held out."""
    by_workload: dict[str, list[dict[str, Any]]] = {}
    for r in records:
        if not r["case"]["held_out"]:
            by_workload.setdefault(r["workload"], []).append(r)
    for workload, own in by_workload.items():
        last = own[-1]["case"]["axes"]
        yield Row(workload, [r for r in own if r["case"]["axes"] == last])


def cells(row: Row, peak: store.Peak) -> tuple[str, ...]:
    """A row as text; what was refused says so."""
    best, called = row.best, row.called
    if best is None:
        refused = ", ".join(sorted({reason for r in row.records for reason in r["reasons"]}))
        return (row.workload, case_text(row.records[0]), "", "none accepted", "", refused, "", "")
    share = ceiling_share(best, peak)
    return (
        row.workload,
        case_text(best),
        microseconds(best["clock"]["baseline_us"]),
        best["variant"],
        speedup_text(best),
        best["outcome"],
        speedup_text(called) if called else "",
        f"{100 * share['share']:.0f} % ({share['bound_by']})" if share else "",
    )


def ceiling_share(r: dict[str, Any], peak: store.Peak) -> dict[str, Any] | None:
    """The share that a variant reaches; None where the workload declares no work, or is not declared any more."""
    case = next((c for c in _cases(r, peak) if dict(c.axes) == r["case"]["axes"]), None)
    return roofline.share(case, float(r["clock"]["candidate_us"]) / 1e6, peak) if case else None


def _cases(r: dict[str, Any], peak: store.Peak) -> Sequence[Case]:
    hardware = peak.hardware
    gpu = {"name": peak.name, "capability": hardware["capability"], "memory_bytes": hardware["memory_bytes"]}
    plan = plan_of([f"+workload={r['workload']}", "device=cuda"], world=World((gpu,), "", 16))
    return plan.cases


if __name__ == "__main__":
    sys.exit(main())
