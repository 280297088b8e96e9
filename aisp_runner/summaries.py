"""Records as a table and curves need them, of files that are too large to be judged anew at every look.

`aisp show` holds every record to the schema and computes its numbers again from its samples, some milliseconds each. Of a
sweep of thousands it reads what is shown, without samples and evidence, and says so; `aisp verify-record` judges it whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.against_plan import claimed_identity
from aisp_runner.case import Skip
from aisp_runner.errors import ConfigError

LARGE_BYTES = 32 << 20
"""From here on a file is large: about a thousand records."""

SHOWN = (
    "workload", "variant", "baseline", "candidate", "case", "status", "outcome", "reasons", "message", "speedup", "clock",
    "roofline", "quarantined", "unprotected", "supersedes", "origin", "chain", "lane",
)  # fmt: skip
"""What is kept of a record."""

TYPES = {
    "workload": str, "variant": str, "baseline": str, "case": dict, "status": str, "reasons": list, "message": str,
    "quarantined": bool,
}  # fmt: skip
"""What must be there for a line to be a record at all."""

BULK, AFTER = b',"samples":[', b',"errors":'
"""Nine tenths of a record lie between these, as this package writes it."""


def is_large(run_dir: Path) -> bool:
    """Whether a run's records are too many to be judged anew at every look."""
    path = run_dir / record.FILE
    return path.is_file() and path.stat().st_size > LARGE_BYTES


def read(run_dir: Path) -> tuple[list[dict[str, Any]], tuple[Skip, ...]]:
    """(what is shown of each record, in the plan's order; what the plan skipped). Raises ConfigError naming file and line."""
    path = run_dir / record.FILE
    records = list(_lines(path))
    plan = _plan(run_dir / "plan.json")
    place = {_declared(case): number for number, case in enumerate(plan.get("cases", ()))}
    if place:
        records.sort(key=lambda r: place.get(claimed_identity(r), len(place)))
    return records, tuple(Skip(**skip) for skip in plan.get("skips", ()))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _shown(line, f"{path}:{number}")


def _shown(line: bytes, where: str) -> dict[str, Any]:
    found = _parsed(_without_bulk(line))
    if found is None:
        found = _parsed(line)
    if found is None or not _is_record(found):
        raise ConfigError(f"{where}: not a record. aisp verify-record {Path(where).parent} says what is wrong with it.")
    return {key: found.get(key) for key in SHOWN}


def _is_record(found: dict[str, Any]) -> bool:
    typed = all(isinstance(found.get(key), kind) for key, kind in TYPES.items())
    return typed and found["case"].keys() >= {"axes", "device", "held_out"} and isinstance(found["case"]["axes"], dict)


def _without_bulk(line: bytes) -> bytes:
    """The line without samples and evidence. A quotation mark inside a string is escaped, so what is found is a key; where it
    is one of another level, what is left is no JSON.
    """
    start = line.find(BULK)
    end = line.find(AFTER, start)
    return line[:start] + line[end:] if 0 <= start < end else line


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plan(path: Path) -> dict[str, Any]:
    """The plan as plain values, without a look at its digest; {} where there is none."""
    if not path.is_file():
        return {}
    try:
        plan = json.loads(path.read_bytes())["plan"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a plan of aisp-run ({error!r}). Move it away to see the records without it.") from None
    return plan if isinstance(plan, dict) else {}


def _declared(case: dict[str, Any]) -> tuple[Any, ...]:
    """What `claimed_identity` gives of a record of this case."""
    names = {"variant": case["optimized"]["name"], "baseline": case["baseline"]["name"], "candidate": case.get("candidate")}
    return claimed_identity({"workload": case["workload"], "case": case, **names})
