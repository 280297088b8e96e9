"""Plans in parts: `aisp plan split` writes one file a machine, `aisp merge` makes one file of their records.

Nothing is measured here. docs/sweeps.md says how the parts are run in between.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import keys, lineage, plan_file, record, record_file, resume
from aisp_runner.against_plan import claimed_identity, identity, matched
from aisp_runner.case import Plan
from aisp_runner.errors import ConfigError
from aisp_runner.plan_file import Shard, load_plan, load_shard, save_plan
from aisp_runner.report import title


def split(plan_path: Path, count: int, out: Path | None = None) -> list[tuple[Path, int]]:
    """Writes `count` files, each the whole plan and which part of it is meant; gives each with the number of its cases.

    out: their folder, by default the plan's. Raises ConfigError.
    """
    plan = load_plan(plan_path)
    if load_shard(plan_path) != plan_file.WHOLE:
        raise ConfigError(f"{plan_path}: it is a shard already ({load_shard(plan_path)}). Split the plan that it was made of.")
    if not 1 <= count <= len(plan.cases):
        raise ConfigError(f"split {count}: the plan has {len(plan.cases)} cases, so 1 to {len(plan.cases)} parts can be made.")
    made = []
    for number in range(1, count + 1):
        path = (out or plan_path.parent) / f"{plan_path.stem}.{number}-of-{count}.json"
        shard = Shard(number, count)
        save_plan(plan, path, shard)
        made.append((path, len(shard.cases(plan))))
    return made


@dataclass
class Merged:
    """What came of a merge."""

    out: Path
    records: int = 0
    """Written to the file, superseded ones included."""
    standing: int = 0
    duplicates: int = 0
    """Records that were in more than one folder, word for word, and were taken once."""
    missing: list[str] = field(default_factory=list)
    """Titles of the plan's cases without a record."""
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 3 where cases are missing."""
        return 3 if self.missing else 0

    def to_json(self) -> dict[str, Any]:
        """As `aisp merge --json` prints it."""
        return vars(self) | {"out": str(self.out)}

    def lines(self) -> list[tuple[str, str]]:
        """(text, style) for a console."""
        shown = [(f"missing: {name}", "yellow") for name in self.missing] + [(note, "dim") for note in self.notes]
        of = f"{self.standing} cases" if self.standing == self.records else f"{self.standing} cases, in {self.records} records"
        twice = f", {self.duplicates} that were there twice taken once" if self.duplicates else ""
        lost = (
            f"; {len(self.missing)} missing: python -m aisp_runner.execute --resume {self.out} runs them"
            if self.missing
            else ""
        )
        return [*shown, (f"{self.out / record.FILE}: {of}{twice}{lost}.", "bold")]


@dataclass
class _Part:
    """One folder of a merge."""

    folder: Path
    shard: Shard
    known: list[str] = field(default_factory=list)
    """Digests that its records were first written with."""
    replaced: set[str] = field(default_factory=set)
    """The same of those that a later record takes the place of."""
    standing: list[dict[str, Any]] = field(default_factory=list)
    """Without samples."""

    @property
    def file(self) -> Path:
        return self.folder / record.FILE


def merge(out: Path, folders: Sequence[Path], mixed: bool = False) -> Merged:
    """One folder with the plan and the records of runs of its parts.

    mixed: also where they come from different runners, devices or drivers. Raises ConfigError where a folder holds no run or
    one of another plan, where a chain is broken, where a case has two different records, and for what mixed allows.
    """
    if (out / record.FILE).exists():
        raise ConfigError(f"{out} holds a {record.FILE} already. Name a folder that has none.")
    plan, parts = _parts(folders)
    made = Merged(out)
    rows = _distinct(parts)
    made.standing = len(rows)
    _refuse_conflicts(rows, plan)
    odd = mixture([r for _, r in rows if not resume.is_lost(r)])
    if odd and not mixed:
        raise ConfigError(f"{odd}. One table of them would compare what differs: leave folders out, or say --mixed.")
    made.notes += [odd] if odd else []
    unknown = [r for _, r in rows if claimed_identity(r) not in {identity(case) for case in plan.cases}]
    made.notes += [f"{title(r)}: the plan no longer has this case" for r in unknown]
    made.missing = [case.title for case in matched([r for _, r in rows], plan)[1]]
    made.duplicates = sum(len(part.known) for part in parts) - len({known for part in parts for known in part.known})
    out.mkdir(parents=True, exist_ok=True)
    save_plan(plan, out / "plan.json")
    for part in parts:
        for earlier in plan_file.earlier_plans(part.folder):
            shutil.copyfile(earlier, out / earlier.name)
    made.records = record_file.write_whole(out / record.FILE, _all(parts))
    return made


def _parts(folders: Sequence[Path]) -> tuple[Plan, list[_Part]]:
    """The one plan, and each folder with what its records say; the chain of each is checked."""
    parts: list[_Part] = []
    digests: dict[str, tuple[Path, Plan]] = {}
    for folder in folders:
        path = folder / "plan.json"
        if not path.is_file():
            raise ConfigError(f"{folder}: no run is in it. Name the folders that `aisp_runner.execute` wrote (--run-dir).")
        plan = load_plan(path)
        digests.setdefault(plan.sha256(), (folder, plan))
        if len(digests) > 1:
            (one, (where, _)), (other, _) = list(digests.items())[:2]
            raise ConfigError(
                f"{folder} is a run of plan {other[:12]}, and {where} of plan {one[:12]}. Only parts of one plan are merged: "
                "aisp plan split makes them."
            )
        part = _Part(folder, load_shard(path))
        slims = []
        plans = {load_plan(earlier).sha256() for earlier in plan_file.earlier_plans(folder)} | set(digests)
        for r in resume.whole_records(part.file, torn=True) if part.file.is_file() else ():
            if r.get("plan_sha256") not in plans:
                raise ConfigError(
                    f"{part.file}: {title(r)}: it is a record of plan {str(r.get('plan_sha256'))[:12]}, which is not in this "
                    f"folder ({', '.join(sorted(plan[:12] for plan in plans))}). Leave the folder out, or measure it again."
                )
            if "key" not in r or "chain" not in r:
                raise ConfigError(f"{part.file}: {title(r)}: an older version wrote it, without a key. Measure it again.")
            part.known.append(record_file.known_as(r))
            part.replaced |= {r["supersedes"]["sha256"]} if "supersedes" in r else set()
            slims.append(resume.slim(r))
        part.standing = record_file.standing(slims)
        parts.append(part)
    return next(iter(digests.values()))[1], parts


def _distinct(parts: Sequence[_Part]) -> list[tuple[Path, dict[str, Any]]]:
    """The records that stand, each once, with the first folder that it is in."""
    replaced = {known for part in parts for known in part.replaced}
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for part in parts:
        for r in part.standing:
            known = record_file.known_as(r)
            if known not in replaced:
                found.setdefault(known, (part.folder, r))
    return list(found.values())


def _refuse_conflicts(rows: Sequence[tuple[Path, dict[str, Any]]], plan: Plan) -> None:
    allowed = Counter(identity(case) for case in plan.cases)
    by_case: dict[Any, list[tuple[Path, dict[str, Any]]]] = {}
    for folder, r in rows:
        by_case.setdefault(claimed_identity(r), []).append((folder, r))
    for name, found in by_case.items():
        if len(found) > max(1, allowed[name]):
            (one, a), (other, b) = found[0], found[-1]
            differs = keys.changed(a["key"], b["key"]) or "the keys are the same"
            raise ConfigError(
                f"{title(a)}: there are two different measurements of it, in {one} and in {other} ({differs}). A merge does "
                "not choose between them: leave one of the folders out."
            )


def mixture(records: Sequence[dict[str, Any]]) -> str:
    """In what the keys of the records differ though one sweep's should not, or ""."""
    runners = sorted({r["key"]["runner"] for r in records})
    if len(runners) > 1:
        return f"the records were written by {len(runners)} different runners: {', '.join(runners)}"
    for device in ("cpu", "cuda"):
        of = sorted({f"{r['key']['device']} (driver {r['key']['driver']})" for r in records if r["case"]["device"] == device})
        if len(of) > 1:
            return f"the cases on {device} were measured on {len(of)} different devices or drivers: {', '.join(of)}"
    return ""


def _all(parts: Sequence[_Part]) -> Iterator[dict[str, Any]]:
    """Every record of every part, once, as it goes into the merged file."""
    seen: set[str] = set()
    for part in parts:
        for r in resume.whole_records(part.file, torn=True) if part.file.is_file() else ():
            known = record_file.known_as(r)
            if known not in seen:
                seen.add(known)
                yield lineage.moved(r, str(part.shard))
