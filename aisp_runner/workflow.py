"""Commands of a GitHub workflow: a line of output that shows a message beside a line of a file."""

from __future__ import annotations

from aisp_runner.report import clean

TEXT = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY = {**TEXT, ":": "%3A", ",": "%2C"}
"""How a command writes these, so that nothing in a config can begin another one."""


def annotation(level: str, file: str, line: int, title: str, message: str, column: int = 0) -> str:
    """level: error, warning or notice. line and column from 1; no column where it is 0."""
    where = [f"file={_written(file, PROPERTY)}", f"line={line}", *([f"col={column}"] if column else [])]
    return f"::{level} {','.join(where)},title={_written(title, PROPERTY)}::{_written(message, TEXT)}"


def _written(value: str, characters: dict[str, str]) -> str:
    for character, instead in characters.items():
        value = value.replace(character, instead)
    return clean(value)
