"""From changes to findings: one for each cause, with every workload that it hits, waived or not."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aisp_runner.review.changes import Change
from aisp_runner.review.composed import Snapshot
from aisp_runner.review.policy import FILE, OFF, Policy, Waiver, waiving
from aisp_runner.review.rules import BLOCK, SEVERITIES, Meaning, meaning

MENDED = "it could not be composed before, and is not compared: "
EVERY_RUN = "every run"
"""Target of a setting that all runs share."""


@dataclass(frozen=True)
class Finding:
    """One line of a review."""

    rule: str
    severity: str
    message: str
    file: str
    line: int
    key: str
    targets: tuple[str, ...]
    """The workloads that it hits; an option, suite or file where it hits none."""
    workloads: int
    """How many workloads that is."""
    waiver: str = ""
    """Who has accepted it, why and until when."""

    @property
    def blocks(self) -> bool:
        return self.severity == BLOCK and not self.waiver


@dataclass(frozen=True)
class Review:
    """Everything that a review says."""

    findings: tuple[Finding, ...]
    files: tuple[str, ...]
    """Config and kernel files that differ."""
    workloads: int
    affected: int
    """Workloads that depend on one of the files, and were composed on both sides."""
    base: str
    head: str

    @property
    def exit_code(self) -> int:
        """3 where something cannot be composed, 2 where something is blocked, else 0."""
        if any(f.rule == "cannot-compose" and not f.waiver for f in self.findings):
            return 3
        return 2 if any(f.blocks for f in self.findings) else 0


def of_changes(changes: Sequence[Change], head: Snapshot, policy: Policy, today: datetime.date) -> list[Finding]:
    """A finding for each cause: the same rule, key, message and line."""
    everything = tuple(head.workloads)
    keys: dict[tuple[str, str], list[str]] = {}
    for change in changes:
        keys.setdefault((change.kind, change.target), []).append(change.key)
    grouped: dict[tuple[Meaning, str, int, str, str], list[str]] = {}
    for change in changes:
        meant = meaning(change, keys[change.kind, change.target])
        if meant is None or policy.severity(meant.rule) == OFF:
            continue
        target = change.target or EVERY_RUN
        waiver = waiving(policy.waivers, meant.rule, target, change.key, today)
        kind = change.kind if change.kind == "workload" else f"{change.kind} {target}"
        grouped.setdefault((meant, change.file, change.line, change.key, kind + _excused(waiver)), []).append(target)
    found = []
    for (meant, file, line, key, kind), targets in grouped.items():
        waived = kind.partition("\n")[2]
        every = kind.startswith("settings")
        named = everything if kind == f"settings {EVERY_RUN}" else tuple(targets)
        count = len(everything) if every else len(targets) if kind.startswith("workload") else 0
        message = meant.message if not every or targets[0] == EVERY_RUN else f"with {targets[0]}: {meant.message}"
        found.append(Finding(meant.rule, policy.severity(meant.rule), message, file, line, key, named, count, waived))
    return found


def _excused(waiver: Waiver | None) -> str:
    return f"\n{waiver.owner}, until {waiver.expires}: {waiver.reason}" if waiver else ""


def uncomposed(base: Snapshot, head: Snapshot, policy: Policy) -> Iterator[Finding]:
    """What cannot be composed in the head, and what could not be in the base and is not compared."""
    for rule, before, side, other in (("cannot-compose", "", head, base), ("workload-new", MENDED, base, head)):
        for name, (file, why) in side.unreadable.items():
            if not before or name in other.workloads:
                yield Finding(rule, policy.severity(rule), before + why, file, 1, "", (name,), 1)
        for what, why in side.problems:
            if not before or what not in {known for known, _ in other.problems}:
                named = what if what.endswith(".yaml") else why.partition(":")[0]
                file = named if named.endswith(".yaml") else ""
                yield Finding(rule, policy.severity(rule), f"{before}{what}: {why}", file, 1, "", (what,), 0)


def of_policy(base: Policy, head: Policy, found: Sequence[Finding], today: datetime.date) -> Iterator[Finding]:
    """What happened to the rules and waivers, and which waivers have run out or excuse nothing."""
    before = {w.identity: w for w in base.waivers}

    def told(rule: str, message: str, waiver: Waiver | None, key: str = "waivers") -> Finding:
        return Finding(rule, base.severity(rule), message, FILE, waiver.line if waiver else 1, key, (), 0)

    for waiver in head.waivers:
        old = before.get(waiver.identity)
        about = f"{waiver.rule} of {waiver.workloads}"
        if old is None:
            yield told("waiver-new", f"{about}, {waiver.owner}, until {waiver.expires}: {waiver.reason}", waiver)
        elif old.expires < waiver.expires:
            yield told("waiver-extended", f"{about}: until {waiver.expires} instead of {old.expires}", waiver)
        if today > waiver.expires:
            yield told(
                "waiver-expired", f"{about}: its last day was {waiver.expires}. Remove it, or mend what it excuses.", waiver
            )
        elif old is not None and not any(f.waiver.endswith(old.reason) and f.rule == old.rule for f in found):
            yield told("waiver-unused", f"{about} excuses nothing of this change", waiver)
    hit = [f for f in found if f.severity != "info"]
    if base.text != head.text and hit:
        message = f"{FILE} and what it judges change together ({len(hit)} findings). Change it first, on its own."
        yield told("policy-with-targets", message, None, "rules")


def without_effect(files: Sequence[str], found: Sequence[Finding], workloads: int, policy: Policy) -> list[Finding]:
    """A finding for files that differ where nothing else is to be told of them."""
    silent = tuple(file for file in files if file not in {f.file for f in found})
    if not silent:
        return []
    message = f"no effective change in {workloads} workloads: {', '.join(silent[:3])}{' ...' if len(silent) > 3 else ''}"
    return [Finding("no-effect", policy.severity("no-effect"), message, silent[0], 1, "", silent, 0)]


def ordered(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Most severe first, then those that hit most."""
    return tuple(sorted(found, key=lambda f: (bool(f.waiver), SEVERITIES.index(f.severity), -f.workloads, f.file, f.line)))


def differing(base: Path, head: Path, kinds: Sequence[str], places: Sequence[Path]) -> list[str]:
    """Files of these kinds below these places (relative) whose bytes differ, or that one side does not have."""
    found = set()
    for folder in (base, head):
        for place in places:
            top = folder / place
            for file in [top] if top.is_file() else top.rglob("*") if top.is_dir() else ():
                if file.suffix in kinds and file.is_file():
                    found.add(file.relative_to(folder))
    return sorted(name.as_posix() for name in found if _bytes(base / name) != _bytes(head / name))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
