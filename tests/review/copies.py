"""Copies of the real configs and kernels, edits of them, and what a review has to say of an edit."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from pathlib import Path

from aisp_runner.content import content_root
from aisp_runner.review.command import review
from aisp_runner.review.findings import Review

TODAY = datetime.date(2026, 12, 1)


def copied(folder: Path) -> Path:
    """conf/ and kernels/ as they are."""
    for name in ("conf", "kernels"):
        shutil.copytree(content_root() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@dataclasses.dataclass(frozen=True)
class Edit:
    """One edit of a file, the rule that has to tell of it, the text whose line it has to name, and the workloads it hits."""

    rule: str
    file: str
    old: str
    new: str
    at: str
    hit: int = 1

    def __str__(self) -> str:
        return f"{self.rule} {Path(self.file).stem}"


def workload(name: str) -> str:
    return f"conf/workload/{name}.yaml"


def applied(edits: list[Edit], head: Path) -> Path:
    for edit in edits:
        path = head / edit.file
        text = path.read_text("utf-8")
        assert text.count(edit.old) == 1, f"{edit}: {edit.old!r} is there {text.count(edit.old)} times"
        path.write_text(text.replace(edit.old, edit.new), "utf-8")
    return head


def told(made: Review, edit: Edit, head: Path) -> bool:
    """Whether a finding has the edit's rule, file, line and workloads."""
    lines = (head / edit.file).read_text("utf-8").split("\n")
    at = {number for number, line in enumerate(lines, 1) if edit.at in line}
    return any(f.rule == edit.rule and f.file == edit.file and f.line in at and f.workloads == edit.hit for f in made.findings)


def against(base: Path, head: Path, edits: list[Edit], waivers: tuple[str, str] = ("", "")) -> Review:
    """The review of a copy of `base` with these edits, and with each side's review.yaml."""
    shutil.copytree(base, head)
    applied(edits, head)
    for folder, text in zip((base, head), waivers, strict=True):
        if text:
            (folder / "review.yaml").write_text(text, "utf-8")
    return review(str(base), head, today=TODAY)
