"""Rows of a benchmark: each is printed and on the disk as soon as it is there, so that a time-out loses little."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import __version__, machine, record
from aisp_runner.report import Console


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    key: str
    """Key of the row's value."""
    heading: str = ""
    digits: int | None = None
    """Decimals of a number; None for text and whole numbers."""
    scale: float = 1.0

    @property
    def title(self) -> str:
        """The heading, or the key."""
        return self.heading or self.key

    def text(self, row: dict[str, Any]) -> str:
        """The cell. "-" where the row has no value."""
        value = row.get(self.key)
        if value is None:
            return "-"
        return f"{value * self.scale:.{self.digits}f}" if self.digits is not None else str(value)


@dataclass
class Rows:
    """The table of a benchmark and its JSON file."""

    name: str
    columns: Sequence[Column]
    console: Console
    device: str = "cpu"
    out: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """What the figures depend on."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    unfinished: list[dict[str, Any]] = field(default_factory=list)
    """The row that is being made, if any: in the file, not yet in the table."""

    def __post_init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.facts = machine.facts(self.device)

    def add(self, row: dict[str, Any]) -> None:
        """Prints the row and writes all rows so far."""
        cells = [(max(len(c.title), 9), c) for c in self.columns]
        first = self.columns[0]
        widest = max(24, len(first.title))
        if not self.rows:
            titles = [c.title.rjust(width) for width, c in cells[1:]]
            self.console.write("  ".join([first.title.ljust(widest), *titles]), "dim")
        self.console.write("  ".join([first.text(row).ljust(widest), *(c.text(row).rjust(width) for width, c in cells[1:])]))
        self.rows.append(row)
        self.unfinished = []
        self.write()

    def so_far(self, row: dict[str, Any], wanted: int) -> None:
        """Writes what there is of a row that takes long. wanted: the runs it will have."""
        self.unfinished = [row | {"wanted": wanted}]
        self.write()

    def write(self) -> None:
        """The JSON file, replaced as a whole."""
        if self.out is None:
            return
        self.out.parent.mkdir(parents=True, exist_ok=True)
        partial = self.out.with_suffix(".partial")
        partial.write_text(json.dumps(record.finite(self.as_json()), indent=1) + "\n", "utf-8")
        partial.replace(self.out)

    def as_json(self) -> dict[str, Any]:
        """Everything, with the command and the machine that gave it."""
        command = ["python", "-m", "aisp_runner.dev.bench", *(Path(a).name if "/" in a else a for a in sys.argv[1:])]
        return {
            "bench": self.name,
            "command": " ".join(command),
            "version": __version__,
            "started": self.started,
            "machine": self.facts,
            "settings": self.settings,
            "rows": [*self.rows, *self.unfinished],
        }

    def markdown(self) -> str:
        """The table for a page."""
        lines = [[c.title for c in self.columns], ["---", *["---:"] * (len(self.columns) - 1)]]
        lines += [[c.text(row) for c in self.columns] for row in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
