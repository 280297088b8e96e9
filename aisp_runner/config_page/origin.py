"""Which file and line, or which word of the command line, sets a value. Files are read as nodes; nothing is composed."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner.config import SELECTORS
from aisp_runner.content import shown
from aisp_runner.lint.places import Document

DEFAULT = "default"
GROUPS = ("device", "measure", "protect", "environment")
"""Config groups of settings, in the order in which conf/config.yaml composes them: a later one wins."""


@dataclass(frozen=True)
class Origin:
    """Who sets a value: a file's line, a word of the command line, or the default that a schema tells."""

    text: str
    """As people read it: conf/measure/quick.yaml:6."""
    file: str = ""
    line: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain values; `file` and `line` where there are any."""
        return {"text": self.text} | ({"file": self.file, "line": self.line} if self.file else {})


def default(schema: str) -> Origin:
    """A value that nobody sets, but the schema (or the module) of this name in the repository."""
    return Origin(f"{DEFAULT} ({schema})")


def at(path: Path, line: int) -> Origin:
    """A line of a file."""
    return Origin(f"{shown(path)}:{line}", shown(path), line)


@functools.lru_cache(maxsize=64)
def document(path: Path) -> Document:
    """The nodes of a YAML file that could be loaded already."""
    return Document(path.read_text("utf-8"))


class Words:
    """The command line's overrides."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self.said: list[tuple[str, str, str]] = []
        """(key without plus, value, the word as given)."""
        for word in overrides:
            key, equals, value = word.partition("=")
            self.said.append((key.lstrip("+~").strip(), value.strip() if equals else "", word.lstrip("+")))

    def choice(self, group: str) -> str:
        """The file of a config group that was chosen, or ""."""
        return next((value for key, value, _ in reversed(self.said) if key == group), "")

    def sets(self, path: str) -> Origin | None:
        """The last word that sets the key `path`, or a mapping that it is in."""
        for key, _, word in reversed(self.said):
            if key not in (*GROUPS, *SELECTORS) and (key == path or path.startswith((f"{key}.", f"{key}["))):
                return Origin(f"command line: {word}")
        return None


class Settings:
    """Where each key of the composed settings comes from."""

    def __init__(self, words: Words, folders: Sequence[Path], defaults: dict[str, str]) -> None:
        """folders: those with config groups. defaults: the file of each group that conf/config.yaml takes by default."""
        self.words, self.folders = words, folders
        chosen = {group: words.choice(group) or defaults.get(group, "") for group in GROUPS}
        self.files = [(file, group) for group in reversed(GROUPS) for file in self._chain(group, chosen[group])]
        self.files.append((folders[0] / "config.yaml", ""))

    def of(self, path: str) -> Origin:
        """Who sets the setting `path`, such as measure.rounds."""
        said = self.words.sets(path)
        if said is not None:
            return said
        for file, group in self.files:
            inner = path if is_global(file) or not group else path.removeprefix(f"{group}.")
            outside = group and not is_global(file) and not path.startswith(f"{group}.")
            line = None if outside else document(file).line_of(inner)
            if line:
                return at(file, line)
        return default("schemas/config.schema.json")

    def _chain(self, group: str, name: str) -> list[Path]:
        """The group's file and those of its own `defaults: [standard, _self_]`; the first that has a key sets it.

        Hydra has composed them already, so that none of them leads back to itself.
        """
        file = next((f for folder in self.folders if (f := folder / group / f"{name}.yaml").is_file()), None)
        if file is None:
            return []
        listed = document(file).words("defaults")
        order = listed if "_self_" in listed else ["_self_", *listed]
        return [f for entry in reversed(order) for f in ([file] if entry == "_self_" else self._chain(group, entry))]


def is_global(file: Path) -> bool:
    """Whether a group's file holds keys of the whole config instead of its group's."""
    return re.search(r"^#\s*@package\s+_global_", file.read_text("utf-8"), re.MULTILINE) is not None


@functools.lru_cache(maxsize=256)
def field_lines(module: Path) -> dict[str, int]:
    """The lines of the fields of the classes in a Python file, by name, from its syntax tree."""
    tree = ast.parse(module.read_text("utf-8"))
    return {
        node.target.id: node.lineno
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for node in kind.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
