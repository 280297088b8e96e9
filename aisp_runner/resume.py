"""What of a plan is already in a run's folder, and what is left to run: exactly the cases without a record that still stands.

A record stands where its key is that of the case now (keys.py). One whose key no longer fits stays in the file; the record
that is made anew takes its place and says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import chain, plan_file, record, record_file
from aisp_runner.against_plan import claimed_identity, identity
from aisp_runner.case import Case, Plan
from aisp_runner.errors import ConfigError
from aisp_runner.keys import Key, changed, work
from aisp_runner.sources import changed as changed_files
from aisp_runner.trial import FORMAT

LOST = "its task came back without a record of it"
RETRIED = "it ended with ERROR, and its repetition was asked for (retry_errors)"


@dataclass(frozen=True)
class Slot:
    """A case of the plan, with its record where it has one that stands, or with what a new one takes the place of."""

    number: int
    """Which case of the run it is, from 1."""
    case: Case
    record: dict[str, Any] | None = None
    supersedes: dict[str, Any] | None = None
    """As the new record has it: sha256 and why."""


@dataclass(frozen=True)
class Found:
    """What a folder holds of a run."""

    slots: tuple[Slot, ...]
    """Each case, in the plan's order."""
    said: tuple[str, ...] = ()
    """What a person should know: what was cut off, what stands, what is run again and why."""

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The records that stand."""
        return [slot.record for slot in self.slots if slot.record is not None]


def nothing(cases: Sequence[Case]) -> Found:
    """A run that begins."""
    return Found(tuple(Slot(number, case) for number, case in enumerate(cases, start=1)))


def is_lost(r: dict[str, Any]) -> bool:
    """Whether a record says only that a task on another machine came back without one (engine/lost.py)."""
    return r["status"] == "ERROR" and bool(r["reasons"]) and all(reason.startswith("engine.") for reason in r["reasons"])


def find(
    cases: Sequence[Case],
    run_dir: Path,
    key_of: Callable[[Case], Key],
    retry_errors: bool = False,
    any_device: bool = False,
) -> Found:
    """What a run that ended, however it ended, has left to do. Mends the end of its file of records.

    any_device: a record stands wherever it was measured; for a run whose cases are judged on other machines.
    Raises ConfigError where a line before the last is no record, and where the chain is broken: such a file was not merely
    cut short, and nothing is added to it.
    """
    path = run_dir / record.FILE
    if not path.is_file():
        return Found(nothing(cases).slots, (f"{run_dir}: it holds no record yet; all {len(cases)} cases are run.",))
    mended = record_file.mend(path)
    keys = [key_of(case).to_json() for case in cases]
    records = record_file.standing([slim(r) for r in whole_records(path)])
    known: Callable[[dict[str, Any]], Any] = work if any_device else (lambda key: key.get("sha256"))
    by_key = _places(records, lambda r: known(r.get("key") or {}))
    held = [by_key[known(key)].popleft() if by_key.get(known(key)) else None for key in keys]
    taken = set(held)
    by_name = _places(records, claimed_identity, taken)
    slots = []
    for number, (case, key, place) in enumerate(zip(cases, keys, held, strict=True), start=1):
        old, why = (None, "") if place is None else (records[place], RETRIED)
        if old is not None and is_lost(old):
            why = LOST
        elif old is not None and not (retry_errors and old["status"] == "ERROR"):
            slots.append(Slot(number, case, old))
            continue
        if old is None and by_name.get(identity(case)):
            old = records[by_name[identity(case)].popleft()]
            why = LOST if is_lost(old) else changed(old.get("key"), key)
        slots.append(Slot(number, case, None, {"sha256": record_file.known_as(old), "why": why} if old else None))
    return Found(tuple(slots), tuple(_said(slots, mended)))


def _places(
    records: Sequence[dict[str, Any]], key: Callable[[Any], Any], but: Container[int | None] = ()
) -> dict[Any, deque[int]]:
    """Places of the records by a key, in their order."""
    found: dict[Any, deque[int]] = {}
    for place, r in enumerate(records):
        if place not in but:
            found.setdefault(key(r), deque()).append(place)
    return found


def whole_records(path: Path, torn: bool = False) -> Iterator[dict[str, Any]]:
    """The records of a file one after the other, each held against the chain first.

    torn: pass over a last line that was cut off. Raises ConfigError for another line that is no record, and where the chain is
    broken.
    """
    before = chain.End(None, 0, False)
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            found = chain.parsed(line)
            if not line.strip() or (found is None and torn and not line.endswith(b"\n")):
                continue
            if found is None or found.get("format") != FORMAT:
                raise ConfigError(f"{where}: no record of this version's format. Delete that line to go on with the rest.")
            wrong = chain.odd_one(found, before)
            if wrong:
                raise ConfigError(
                    f"{where}: {wrong}: the file was changed after it was written, so it is left alone. "
                    f"See: aisp verify-record {path}"
                )
            yield found
            before = chain.End({"chain": found["chain"]} if chain.has_chain(found) else found, before.index + 1, False)


_ROOM: dict[str, Any] = {
    "samples": [],
    "evidence": [],
    "state": None,
    "errors": {},
    "sources": {},
    "machine": {},
    "device_clock": None,
}
"""What takes room in a record and is in no row of the table, and what stands there instead."""


def slim(r: dict[str, Any]) -> dict[str, Any]:
    """A record without what takes room: enough for its row of the table. One without a chain stays whole: its digest is of
    all of it.
    """
    return bare(r) if chain.has_chain(r) else r


def bare(r: dict[str, Any]) -> dict[str, Any]:
    """The same of a record whose digest nobody will ask for."""
    return {**r, **_ROOM}


def _said(slots: Sequence[Slot], mended: str) -> list[str]:
    kept, left = sum(s.record is not None for s in slots), sum(s.record is None for s in slots)
    lines = [mended] if mended else []
    lines.append(f"{kept} of {len(slots)} cases have a record that stands; {left} are run.")
    reasons: dict[str, int] = {}
    for slot in slots:
        if slot.supersedes:
            reasons[slot.supersedes["why"]] = reasons.get(slot.supersedes["why"], 0) + 1
    lines += [f"{n} run again, and the old record stays in the file, superseded: {why}." for why, n in reasons.items()]
    return lines


# The folder and its plan


def folder_of(run_dir: Path) -> Path:
    """The folder, which must hold a run. Raises ConfigError."""
    if not run_dir.is_dir():
        raise ConfigError(f"resume: there is no folder {run_dir}. Name the folder of the run that is to go on.")
    if not (run_dir / "plan.json").is_file():
        held = "records.jsonl but no plan.json" if (run_dir / record.FILE).is_file() else "no run"
        raise ConfigError(f"resume: {run_dir} holds {held}. Name the folder of a run, or begin one with run_dir={run_dir}.")
    return run_dir


def replace_plan(plan: Plan, run_dir: Path, shard: plan_file.Shard) -> str:
    """Puts a plan that was made anew into the folder of a run and keeps the one before; gives a sentence about it, or "".

    Raises ConfigError where the two have no comparison in common: that is another run.
    """
    path = run_dir / "plan.json"
    if not path.is_file():
        plan_file.save_plan(plan, path, shard)
        return ""
    before = plan_file.load_plan(path)
    if before.sha256() == plan.sha256():
        if plan_file.load_shard(path) != shard:
            plan_file.save_plan(plan, path, shard)
        return ""
    if before.cases and not {identity(case) for case in before.cases} & {identity(case) for case in plan.cases}:
        raise ConfigError(
            f"resume: {run_dir} holds plan {before.sha256()[:12]}, which has no comparison in common with what is asked for "
            f"({before.cases[0].title} and {len(before.cases) - 1} more). Name its own folder, or none."
        )
    kept = plan_file.set_aside(path)
    plan_file.save_plan(plan, path, shard)
    return f"The plan is another than before ({plan.sha256()[:12]} instead of {before.sha256()[:12]}), which is kept as {kept}."


def refuse_changed_sources(cases: Sequence[Case]) -> None:
    """Raises ConfigError where a file differs from what the plan was made of: every case of it would be refused."""
    odd = sorted({name for c in cases for v in (c.reference, c.baseline, c.optimized) for name in changed_files(v.source)})
    if odd:
        raise ConfigError(
            f"resume: {', '.join(odd[:4])}{' and more' if len(odd) > 4 else ''} changed since the plan was made. Name what to "
            "run again, aisp-run +workload=NAME ... resume=RUN_DIR: the plan is made anew, and only what changed is run again."
        )
