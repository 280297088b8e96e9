"""Which file is checked how, and what is found in it, by line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aisp_runner import schema
from aisp_runner.config import load_yaml
from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.lint.places import Document, Place, Trap
from aisp_runner.lint.rules import ERROR, GPU_GIB, WARNING, judge
from aisp_runner.spec import workload_from_dict

BY_FOLDER = {"workload": "workload", "workloads": "workload", "chapter": "chapter", "lab": "lab", "suite": "suite"}
"""Schema of a YAML file, by the name of the folder it lies in."""
BY_NAME = {"quarantine.yaml": "quarantine", "expected.yaml": "expected"}

TRAPS_THAT_MISLEAD = ("duplicate-key", "yaml-key")
"""Errors; the other traps are warnings, since this project's own reader takes them as they look."""

_MESSAGE = re.compile(r"(?P<path>[^\s:]+): ")
_LINE = re.compile(r"line (\d+): ?")


@dataclass(frozen=True)
class Remark:
    """One line of a lint's report."""

    file: Path
    place: Place
    severity: str
    rule: str
    message: str
    wrong: str = ""
    right: str = ""

    def text(self) -> str:
        """file:line:column: severity [rule] message."""
        return f"{shown(self.file)}:{self.place.line}:{self.place.column}: {self.severity} [{self.rule}] {self.message}"


def collect(paths: Sequence[Path]) -> list[Path]:
    """The YAML files of these files and folders that this project knows. Raises ConfigError for a path that is not there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*.yaml") if kind(file) and not hidden(file.relative_to(path)))
        elif path.is_file():
            found.append(path)
        else:
            near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")]) if path.parent.is_dir() else ""
            raise ConfigError(f"{path}: there is no such file or folder.{near}")
    return list(dict.fromkeys(file.absolute() for file in found))


def hidden(path: Path) -> bool:
    """Whether it lies in a folder such as .venv."""
    return any(part.startswith(".") for part in path.parts)


def kind(path: Path) -> str:
    """The schema that a file follows: by its name, or by its folder's. "" for one that is not ours."""
    return BY_NAME.get(path.name) or BY_FOLDER.get(path.parent.name, "")


def lint(path: Path, gpu_gib: float = GPU_GIB) -> list[Remark]:
    """Everything wrong or questionable in one file, in the order of its lines."""
    try:
        document = Document(path.read_text("utf-8"))
    except OSError as error:
        return [Remark(path, Place(1, 1), ERROR, "unreadable", f"cannot be read: {error.strerror}.")]
    except UnicodeDecodeError as error:
        return [Remark(path, Place(1, 1), ERROR, "unreadable", f"is not UTF-8 text (byte {error.start}).")]
    except ValueError as error:
        found = _LINE.match(str(error))
        return [Remark(path, Place(int(found[1]) if found else 1, 1), ERROR, "yaml", _LINE.sub("", str(error), count=1))]
    remarks = [_trap(path, trap) for trap in document.traps()]
    if not any(remark.rule == "duplicate-key" for remark in remarks):
        remarks += _declared(path, document, gpu_gib)
    return sorted(dict.fromkeys(remarks), key=lambda r: (r.place.line, r.place.column, r.rule))


def _trap(path: Path, trap: Trap) -> Remark:
    severity = ERROR if trap.rule in TRAPS_THAT_MISLEAD else WARNING
    return Remark(path, trap.place, severity, trap.rule, trap.message, trap.wrong, trap.right)


def _declared(path: Path, document: Document, gpu_gib: float) -> Iterator[Remark]:
    """What the schema and, of a workload, everything behind it says."""
    name = kind(path) or "workload"
    try:
        content = load_yaml(path)
    except ConfigError as error:
        yield _located(path, document, _without_origin(str(error), path))
        return
    if name != "workload":
        for problem in schema.problems(content, name):
            yield _located(path, document, problem)
        return
    try:
        spec = workload_from_dict(path.stem, content, shown(path), path.absolute().parent)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield _located(path, document, _without_origin(line, path))
        return
    for found in judge(spec, gpu_gib):
        yield Remark(path, document.find(found.path), found.severity, found.rule, found.message)


def _without_origin(text: str, path: Path) -> str:
    return text.removeprefix(f"{shown(path)}: ").removeprefix(f"{shown(path)}:").strip()


def _located(path: Path, document: Document, problem: str) -> Remark:
    """A problem that begins with the path of a key, at that key's line."""
    line = _LINE.match(problem)
    if line:
        return Remark(path, Place(int(line[1]), 1), ERROR, "yaml", problem[line.end() :])
    told = _MESSAGE.match(problem)
    where = told["path"] if told else ""
    rule = "signature" if "does not match the workload's" in problem or "has no function" in problem else "declaration"
    return Remark(path, document.find(where), ERROR, rule, problem)


def fix(remarks: Sequence[Remark]) -> int:
    """Writes what is safe to change into the files; gives how many places were changed."""
    changed = 0
    for path in dict.fromkeys(remark.file for remark in remarks if remark.right):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        own = [r for r in remarks if r.file == path and r.right]
        for remark in sorted(own, key=lambda r: (r.place.line, -r.place.column)):
            text, at = lines[remark.place.line - 1], remark.place.column - 1
            if text.startswith(remark.wrong, at):
                lines[remark.place.line - 1] = text[:at] + remark.right + text[at + len(remark.wrong) :]
                changed += 1
        path.write_text("".join(lines), "utf-8")
    return changed


def as_json(remarks: Sequence[Remark]) -> str:
    """The remarks as JSON, paths as messages show them."""
    told = [
        {
            "file": shown(r.file),
            "line": r.place.line,
            "column": r.place.column,
            "severity": r.severity,
            "rule": r.rule,
            "message": r.message,
        }
        for r in remarks
    ]
    return json.dumps(told, indent=1)


def default_paths() -> list[Path]:
    """What is linted when nothing is named: the runner's own configs, and conf/ or quarantine.yaml here."""
    here = [Path("conf"), Path("quarantine.yaml")]
    return [content_root() / "conf", *(path for path in here if path.exists() and path.absolute() != content_root() / "conf")]
