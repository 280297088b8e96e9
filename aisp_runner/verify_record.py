"""Whether records say what their own samples, evidence and plan say, and whether all of them are there: `aisp verify-record`.

Nothing is measured and no kernel file is run. Blind spot: records that were invented as a whole, samples and all, agree with
themselves; what tells them is a signature whose key the forger did not have (docs/verify-record.md).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import against_plan, chain, lineage, plan_file, record, record_file, verdict
from aisp_runner.case import Plan, Source
from aisp_runner.errors import AispError, ConfigError
from aisp_runner.recheck import Difference, contradictions, counts
from aisp_runner.report import clean, title
from aisp_runner.sources import resolve

DISAGREES = 3
"""Exit code where something contradicts."""

COMPLAINTS = 5
"""What the schema has against a record is told up to this many times."""


@dataclass(frozen=True)
class Finding:
    """One thing that was seen. A note contradicts nothing: it says what could not be checked, or has changed since."""

    where: str
    """FILE:LINE, or the plan's file."""
    record: str
    """The record's title, or "" where it is about the file."""
    what: str
    expected: str = ""
    found: str = ""
    contradicts: bool = True

    def line(self) -> str:
        """contradiction: FILE:LINE: TITLE: WHAT: expected X, found Y."""
        place = ": ".join(part for part in (self.where, self.record, self.what) if part)
        told = ", ".join(f"{word} {text}" for word, text in (("expected", self.expected), ("found", self.found)) if text)
        return clean(": ".join(part for part in ("contradiction" if self.contradicts else "note", place, told) if part))


@dataclass
class Verified:
    """What came of a file of records."""

    path: Path
    plan: Path | None
    records: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    run_exit_code: int | None = None
    """What a run with these records ends with (verdict.exit_code); None where one of them is no record."""

    @property
    def exit_code(self) -> int:
        """0: everything that was checked agrees. 3: something contradicts."""
        return DISAGREES if any(finding.contradicts for finding in self.findings) else 0

    def to_json(self) -> dict[str, Any]:
        """As `aisp verify-record --json` prints it."""
        return {
            "path": str(self.path),
            "plan": str(self.plan) if self.plan else None,
            "records": len(self.records),
            "agrees": self.exit_code == 0,
            "run_exit_code": self.run_exit_code,
            "findings": [
                {key: clean(value) if isinstance(value, str) else value for key, value in asdict(finding).items()}
                for finding in self.findings
            ],
        }

    def lines(self) -> list[tuple[str, str]]:
        """(text, style): a line a finding, contradictions first, and what it comes to."""
        ordered = sorted(self.findings, key=lambda finding: not finding.contradicts)
        shown = [(finding.line(), "bold red" if finding.contradicts else "dim") for finding in ordered]
        wrong = sum(finding.contradicts for finding in self.findings)
        count = f"{len(self.records)} record{'' if len(self.records) == 1 else 's'}"
        end = f"{wrong} contradiction{'' if wrong == 1 else 's'}" if wrong else "nothing that was checked contradicts"
        return [*shown, (f"{self.path}: {count}: {end}.", "bold")]


def verify(path: Path, plan: Path | None = None, key_file: Path | None = None) -> Verified:
    """Hold a file of records, or that of a run's folder, against itself, its plan and its signatures.

    plan: by default the plan.json beside the records, where there is one. key_file: the key that signed them; without it
    signatures are not checked. Raises ConfigError where a file that was named cannot be read, and where there is nothing to
    check.
    """
    if path.is_dir():
        path = path / record.FILE
    beside = path.parent / "plan.json"
    if plan is not None and not plan.is_file():
        raise ConfigError(f"{plan}: no such file. Name the plan.json of the run, or leave --plan out.")
    made = Verified(path, plan or (beside if beside.is_file() else None))
    key = chain.read_key(key_file) if key_file else None
    places = _read(made)
    if not made.records and not made.findings and made.plan is None:
        raise ConfigError(f"{path}: no record is in it. Name a folder that aisp-run wrote, or its {record.FILE}.")
    made.findings += _chain(made, places, key)
    sound = []
    for r, where in zip(made.records, places, strict=True):
        wrong = record.complaints(r, "record")
        made.findings += [Finding(where, _title(r), f"schema, {what}") for what in wrong[:COMPLAINTS]]
        if not wrong:
            sound.append((r, where))
            made.findings += [Finding(where, _title(r), *difference) for difference in contradictions(r)]
            made.findings += [Finding(where, _title(r), *note, contradicts=False) for note in notes(r)]
    made.findings += _against_plan(made, sound)
    made.run_exit_code = verdict.exit_code(record_file.standing(made.records)) if len(sound) == len(made.records) else None
    return made


def notes(r: dict[str, Any]) -> list[Difference]:
    """What cannot be held against a record, and yet should be known."""
    found = []
    for name, digest in sorted(r["sources"].items()):
        path, _, part = name.rpartition("::")
        file = resolve(Source(path, {})).parent / part
        if file.is_file() and (now := hashlib.sha256(file.read_bytes()).hexdigest()) != digest:
            found.append(Difference(f"{name} on this machine differs from what was measured", digest[:12], now[:12]))
    if r["status"] == "VALID" and not r.get("unprotected") and not counts(r):
        found.append(Difference("statistical.whole_sample tells no counts, so the number of samples was not held against them"))
    if r.get("unprotected"):
        found.append(Difference("unprotected: its numbers claim nothing and were not computed again"))
    return found


def _read(made: Verified) -> list[str]:
    """Fill in the records; gives FILE:LINE of each. A line that holds none is a contradiction."""
    if not made.path.is_file() and made.plan is not None and made.path.name == record.FILE:
        return []  # every comparison was skipped, or the run ended before its first record
    try:
        lines = made.path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{made.path}: cannot be read ({error.strerror}). Name a run's folder or its records.") from None
    places = []
    for number, line in enumerate(lines, start=1):
        where = f"{made.path}:{number}"
        if (content := chain.parsed(line)) is not None:
            made.records.append(content)
            places.append(where)
        elif line.strip():
            made.findings.append(Finding(where, "", "line", "a record", f"{len(line)} bytes that are none: cut off, or edited"))
    return places


def _title(r: dict[str, Any]) -> str:
    try:
        return title(r)
    except (AttributeError, KeyError, TypeError):  # the schema's complaint says what it lacks
        return "a record without a title"


def _chain(made: Verified, places: Sequence[str], key: chain.Key | None) -> Iterator[Finding]:
    """The chain and the signatures of all records."""
    records = made.records
    broken = chain.breaks(records) + lineage.breaks(records)
    broken += chain.unsigned(records, key) + lineage.unsigned(records, key) if key else []
    for position, what, expected, found in broken:
        yield Finding(places[position], _title(records[position]), what, expected, found)
    bare = sum(not chain.has_chain(r) for r in records)
    if bare:
        said = f"no chain in {bare} of {len(records)} records: they were written by an older version, or it was removed"
        yield Finding(str(made.path), "", said, contradicts=False)
    elsewhere = sum("origin" in r for r in records)
    if elsewhere:
        said = f"merged: {elsewhere} of {len(records)} records were first written to other files, and their chains were checked"
        yield Finding(str(made.path), "", said, contradicts=False)
    signers = {str(r["chain"].get("key_id")) for r in records if chain.has_chain(r) and "signature" in r["chain"]}
    if signers and key is None:
        said = f"signed with the key {', '.join(sorted(signers))}, and not checked: name its file with --key-file"
        yield Finding(str(made.path), "", said, contradicts=False)
    if not signers and records:
        said = "not signed: whoever can write the file can have written all of it anew"
        yield Finding(str(made.path), "", said, contradicts=False)


def digest_of(plan: dict[str, Any]) -> str:
    """A plan's sha256 by its text alone: a later version, whose plans have further keys, finds the same."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _against_plan(made: Verified, sound: Sequence[tuple[dict[str, Any], str]]) -> Iterator[Finding]:
    """The plan against its own digest and the records', its cases against those of the records."""
    if made.plan is None:
        said = "no plan.json is beside it: what was agreed, and whether records are missing at its end, was not checked"
        yield Finding(str(made.path), "", said, contradicts=False)
        return
    name = str(made.plan)
    try:
        plan = plan_file.load_plan(made.plan, check=False)
        content = json.loads(made.plan.read_bytes())
    except (AispError, OSError) as odd:
        yield Finding(name, "", str(odd))
        return
    own, digest = str(content["sha256"]), digest_of(content["plan"])
    if own != digest:
        yield Finding(name, "", "it was changed after it was made, sha256 of its content", own[:12], digest[:12])
    plans = _earlier(made.plan.parent) | {digest: plan}
    for claim, n in Counter(str(r.get("plan_sha256")) for r in made.records).items():
        if claim not in plans:
            said = f"it is not the plan of {n} of {len(made.records)} records, plan_sha256"
            yield Finding(name, "", said, claim[:12], digest[:12])
        elif claim != digest:
            said = f"{n} of {len(made.records)} records are of an earlier plan, {claim[:12]}, and were held against that"
            yield Finding(name, "", said, contradicts=False)
    yield from _cases(sound, plans, digest)
    if len(sound) == len(made.records):
        yield from _missing(made, [r for r, _ in sound], plan, content.get("shard"))


def _earlier(folder: Path) -> dict[str, Plan]:
    """The plans that were set aside in a run's folder, by the digest of their content; those that cannot be read left out."""
    found = {}
    for path in plan_file.earlier_plans(folder):
        with contextlib.suppress(AispError, OSError):
            found[digest_of(json.loads(path.read_bytes())["plan"])] = plan_file.load_plan(path)
    return found


def _cases(sound: Sequence[tuple[dict[str, Any], str]], plans: dict[str, Plan], digest: str) -> Iterator[Finding]:
    """Each record against its case in the plan that it names, and where it names none of them in the newest."""
    of: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for r, where in sound:
        of.setdefault(r["plan_sha256"] if r["plan_sha256"] in plans else digest, []).append((r, where))
    current = {id(r) for r in record_file.standing([r for r, _ in sound])}
    for claim, mine in of.items():
        cases, _ = against_plan.matched([r for r, _ in mine], plans[claim])
        seen: set[int] = set()
        for (r, where), case in zip(mine, cases, strict=True):
            if case is None:
                yield Finding(where, _title(r), "case", "one of the plan's", "one that the plan does not have")
                continue
            yield from (Finding(where, _title(r), *difference) for difference in against_plan.differences(r, case))
            if id(r) not in current:
                yield Finding(where, _title(r), "superseded by a later record of its case", contradicts=False)
                continue
            if "supersedes" in r:
                yield Finding(
                    where, _title(r), f"it takes an earlier record's place: {r['supersedes']['why']}", contradicts=False
                )
            if id(case) in seen:
                yield Finding(where, _title(r), "a further record of the same case", contradicts=False)
            seen.add(id(case))


def _missing(made: Verified, records: Sequence[dict[str, Any]], plan: Plan, shard: Any) -> Iterator[Finding]:
    """Cases of the newest plan, or of the part of it that was to be run, that no record tells of."""
    assert made.plan is not None
    name, part = str(made.plan), plan_file.load_shard(made.plan) if shard else plan_file.WHOLE
    if part != plan_file.WHOLE:
        cases = f"{len(part.cases(plan))} of {len(plan.cases)} cases"
        said = f"shard {part} of the plan: records of its {cases} alone are asked for"
        yield Finding(name, "", said, contradicts=False)
    _, missing = against_plan.matched(record_file.standing(records), dataclasses.replace(plan, cases=part.cases(plan)))
    found = "none: the run ended before it, or the record was removed"
    yield from (Finding(name, case.title, "record", "one of this case", found) for case in missing)
