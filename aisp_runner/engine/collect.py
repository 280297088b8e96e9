"""What a node sent back, held against the plan before any of it goes into the run's own file of records.

A record is taken where its chain is whole, the schema accepts it, it names this plan, it is of a case of its task that has none
yet, and its key names that case, those sources and this runner. Which device it was measured on is the record's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import record, resume
from aisp_runner.against_plan import claimed_identity, identity
from aisp_runner.engine.task import Task
from aisp_runner.errors import ConfigError
from aisp_runner.keys import Key, changed
from aisp_runner.report import title
from aisp_runner.resume import Slot


@dataclass
class Collected:
    """The records of one task, by slot, and why the rest was not taken."""

    records: list[tuple[Slot, dict[str, Any]]] = field(default_factory=list)
    refused: str = ""


def collect(path: Path | None, task: Task, plan_sha256: str, keys: dict[int, Key]) -> Collected:
    """The records in a file that a task wrote. keys: of the slots by their number, without a device.

    Nothing behind a record that is refused is taken.
    """
    found = Collected()
    if path is None or not path.is_file():
        return found
    waiting = list(task.slots)
    try:
        for r in resume.whole_records(path, torn=True):
            wrong = _wrong(r, plan_sha256)
            slot = None if wrong else next((s for s in waiting if identity(s.case) == claimed_identity(r)), None)
            if slot is None:
                found.refused = wrong or f"a record of {title(r)}, which is no case of this task"
                break
            if odd := _another(r, keys[slot.number]):
                found.refused = odd
                break
            waiting.remove(slot)
            found.records.append((slot, r))
    except ConfigError as odd:
        found.refused = str(odd)
    return found


def _wrong(r: dict[str, Any], plan_sha256: str) -> str:
    complaints = record.complaints(r, "record")
    if complaints:
        return f"no record of this version: {'; '.join(complaints[:3])}"
    if r["plan_sha256"] != plan_sha256:
        return f"a record of plan {r['plan_sha256'][:12]}, and this run is of plan {plan_sha256[:12]}"
    return "" if "chain" in r else "a record without a chain"


def _another(r: dict[str, Any], key: Key) -> str:
    """What of a record's key is another than this run's, the device and its driver aside, or ""."""
    claimed = r.get("key") or {}
    mine = key.to_json() | {part: claimed.get(part) for part in ("device", "driver")}
    differs = changed(claimed, mine)
    return f"its key is another ({differs.replace(' before', ' there').replace(' now', ' here')})" if differs else ""
