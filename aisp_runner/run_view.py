"""What a run holds, as `aisp show` shows it: the records that stand, in the plan's order, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import record, record_file, report, summaries
from aisp_runner.against_plan import in_order
from aisp_runner.case import Skip
from aisp_runner.plan_file import earlier_plans, load_plan


@dataclass(frozen=True)
class View:
    """A run, ready to be shown."""

    records: Sequence[dict[str, Any]]
    """Those that stand, in the plan's order; of a large file without samples and evidence."""
    skips: Sequence[Skip]
    wrong: Sequence[str] = ()
    """Where a record contradicts itself or its plan, a sentence each."""
    notes: Sequence[str] = ()
    """What a reader has to know about what is shown."""


def view(run_dir: Path, whole: bool) -> View:
    """Reads a run. whole: judge every record, however many there are. Raises ConfigError for a file that cannot be read."""
    if not whole and summaries.is_large(run_dir):
        records, skips = summaries.read(run_dir)
        standing = record_file.standing(records)
        unjudged = (
            f"{len(records)} records: their numbers were not computed again from their samples. "
            f"That does: aisp verify-record {run_dir}"
        )
        return View(standing, skips, (), (unjudged, *_superseded(len(records) - len(standing))))
    path = run_dir / record.FILE
    records = record.read(path) if path.is_file() else []
    wrong = [f"{report.title(r)}: {text}" for r in records for text in record.recompute(r)]
    standing = record_file.standing(records)
    notes = _superseded(len(records) - len(standing))
    if not (run_dir / "plan.json").is_file():
        return View(standing, (), wrong, notes)
    plan = load_plan(run_dir / "plan.json", check=False)
    plans = {plan.sha256(), *(load_plan(earlier, check=False).sha256() for earlier in earlier_plans(run_dir))}
    if {r["plan_sha256"] for r in records} - plans:
        wrong.append(f"plan.json is plan {plan.sha256()[:12]}, and there are records of another: it was changed after the run")
    return View(in_order(standing, plan), plan.skips, wrong, notes)


def _superseded(count: int) -> tuple[str, ...]:
    told = f"{count} superseded records are not shown: docs/sweeps.md#a-key-that-no-longer-fits"
    return (told,) if count else ()
