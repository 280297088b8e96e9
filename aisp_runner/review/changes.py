"""What differs between two revisions in effect, and the line that is to blame."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner.lint.places import Document
from aisp_runner.review.composed import DEFAULT, Snapshot, Value, Values

ABSENT = None
"""The value of a key that one side does not have."""

OWN = ("verify.phase", "verify.require", "margin")
"""Settings that are told of each workload, which may have its own."""

NOWHERE: Value = (ABSENT, "", "", 0)


@dataclass(frozen=True)
class Change:
    """One effective value of one workload, setting or suite that is not what it was."""

    kind: str
    """workload, settings, suite or file."""
    target: str
    """The workload's name; the option, such as measure=quick, or "" for every run; the suite's name; the file."""
    key: str
    """Dotted; "" where the whole target is new or gone."""
    old: Any
    new: Any
    file: str
    line: int


def between(base: Snapshot, head: Snapshot, base_folder: Path, head_folder: Path) -> list[Change]:
    """Every difference. Comments, order and where a value is written make none."""
    finder = _Finder(base_folder, head_folder)
    found = []
    for kind, before, after in (
        ("workload", base.workloads, head.workloads),
        ("settings", base.settings, head.settings),
        ("suite", base.suites, head.suites),
        ("file", base.others, head.others),
    ):
        both = [name for name in before if name in after]
        for name in both:
            found += [finder.change(kind, name, key, old, new) for key, old, new in _differing(before[name], after[name])]
        gone = [finder.whole(kind, name, before[name], None) for name in before if name not in after]
        new = [finder.whole(kind, name, None, after[name]) for name in after if name not in before]
        found += [c for c in gone if not _unreadable(c, head)] + [c for c in new if not _unreadable(c, base)]
    return _once(found)


def _unreadable(change: Change, side: Snapshot) -> bool:
    """Whether a target is missing on a side only because it, or all of that side, cannot be composed."""
    if side.problems and not side.workloads:
        return True
    broken = {what for what, _ in side.problems}
    return change.target in (side.unreadable if change.kind == "workload" else broken) or change.file in broken


def _differing(before: Values, after: Values) -> Iterator[tuple[str, Value, Value]]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, NOWHERE), after.get(key, NOWHERE)
        if old[0] != new[0]:
            yield key, old, new


def _once(found: list[Change]) -> list[Change]:
    """Without what every run shares told again of an option, settings that are told of each workload, and suites that have or
    lack a workload because it is new or gone.
    """
    whole = {c.target for c in found if c.kind == "workload" and not c.key}
    found = [c for c in found if c.kind != "suite" or c.key not in whole]
    common = {(c.key, repr(c.old), repr(c.new)) for c in found if c.kind == "settings" and c.target == DEFAULT}
    return [
        c
        for c in found
        if c.kind != "settings"
        or (c.target == DEFAULT and c.key not in OWN)
        or (c.target != DEFAULT and (c.key, repr(c.old), repr(c.new)) not in common)
    ]


class _Finder:
    """Finds the line of a value: in the head where it is set there, else in the base."""

    def __init__(self, base: Path, head: Path) -> None:
        self.base, self.head = base, head

    def change(self, kind: str, target: str, key: str, old: Value, new: Value) -> Change:
        """A change of one value."""
        _, file, at, line = new if new[1] else old
        return Change(kind, target, key, old[0], new[0], file, line or self._line(file, at))

    def whole(self, kind: str, target: str, before: Values | None, after: Values | None) -> Change:
        """A target that is new, or gone. Its value is the question that it asks, or its name."""
        values = after or before or {}
        file = next((value[1] for value in values.values() if value[1]), target if kind == "file" else "")
        told = values.get("question", (target, "", "", 0))[0]
        return Change(kind, target, "", told if after is None else ABSENT, told if before is None else ABSENT, file, 1)

    def _line(self, file: str, at: str) -> int:
        for folder in (self.head, self.base):
            document = _document(folder / file) if file else None
            if document is not None:
                return document.find(at).line
        return 1


@functools.lru_cache(maxsize=4096)
def _document(path: Path) -> Document | None:
    try:
        return Document(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
