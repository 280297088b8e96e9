"""A YAML file as its text has it: the line of each key, keys that are there twice, and values that are not what they look like.

The file is only parsed into nodes; no value is built, so that tags and aliases come to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aisp_runner import yaml_bounds

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
_SEXAGESIMAL = re.compile(r"[-+]?[1-9]\d*(:[0-5]?\d)+(\.\d*)?")
_OCTAL = re.compile(r"[-+]?0\d+")
_BOOLEAN = re.compile(r"(y|n|yes|no|on|off)", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where something stands, both from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Trap:
    """A piece of YAML that is read otherwise than it looks."""

    rule: str
    place: Place
    message: str
    wrong: str = ""
    right: str = ""
    """The text to put in the place of `wrong`, where that is safe."""


class Document:
    """One YAML file. Raises ValueError, with the line in its text, for what is not YAML or too large."""

    def __init__(self, text: str, bounds: yaml_bounds.Bounds = yaml_bounds.PAGE) -> None:
        import yaml

        try:
            self.root: Any = yaml_bounds.nodes(text, bounds=bounds)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            raise ValueError(f"line {line}: not YAML: {getattr(error, 'problem', None) or error}") from None

    def find(self, path: str) -> Place:
        """Where the key or item of a path such as optimized[1].device stands, or the last part of the path that is there."""
        return self._walk(path)[0]

    def line_of(self, path: str) -> int | None:
        """The line of a key or item; None where the file does not have it."""
        place, found, _ = self._walk(path)
        return place.line if found else None

    def words(self, path: str) -> list[str]:
        """The plain values of a list; none where the file does not have it."""
        _, found, node = self._walk(path)
        return [item.value for item in node.value if item.id == "scalar"] if found and node.id == "sequence" else []

    def _walk(self, path: str) -> tuple[Place, bool, Any]:
        """Place and node of the last part of a path that is there, and whether that is all of it."""
        node, place = self.root, Place(1, 1)
        for name, index in _STEP.findall(path):
            key = name.strip("'\"")
            if index and node is not None and node.id == "sequence" and int(index) < len(node.value):
                node = node.value[int(index)]
                place = _place(node)
                continue
            pairs = node.value if node is not None and node.id == "mapping" else []
            found = next(((k, v) for k, v in pairs if k.value == key), None)
            if found is None:
                return place, False, node
            place, node = _place(found[0]), found[1]
        return place, True, node

    def traps(self) -> Iterator[Trap]:
        """Keys that are there twice, and plain values that YAML 1.1 reads as something else."""
        for node, is_key in _nodes(self.root):
            if node.id == "mapping":
                yield from _twice(node)
            elif node.id == "scalar" and node.style is None:
                yield from _scalar(node, is_key)


def _nodes(root: Any) -> Iterator[tuple[Any, bool]]:
    """Every node once, and whether it is a key; an alias leads to nodes that were met."""
    todo, met = [(root, False)] if root is not None else [], set[int]()
    while todo:
        node, is_key = todo.pop()
        if id(node) in met:
            continue
        met.add(id(node))
        yield node, is_key
        if node.id == "mapping":
            todo += [pair for key, value in reversed(node.value) for pair in ((value, False), (key, True))]
        elif node.id == "sequence":
            todo += [(item, False) for item in reversed(node.value)]


def _twice(node: Any) -> Iterator[Trap]:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if key.id == "scalar" and key.value in seen and key.value != "<<":
            message = f"'{key.value}' is also on line {seen[key.value]}, and only one of them counts. Remove one."
            yield Trap("duplicate-key", _place(key), message)
        elif key.id == "scalar":
            seen[key.value] = key.start_mark.line + 1


def _scalar(node: Any, is_key: bool) -> Iterator[Trap]:
    text, place = node.value, _place(node)
    if is_key and node.tag.endswith((":bool", ":int", ":float", ":null")):
        yield Trap("yaml-key", place, f"the key {text} is not text to YAML. Put it in quotes.", text, f'"{text}"')
    elif is_key:
        return
    elif _EXPONENT.fullmatch(text):
        mantissa, _, power = text.lower().partition("e")
        right = f"{mantissa}.0e{power if power[0] in '+-' else '+' + power}"
        message = f"{text} is text to YAML 1.1 and a number to YAML 1.2: readers differ. Write {right}."
        yield Trap("yaml-exponent", place, message, text, right)
    elif _SEXAGESIMAL.fullmatch(text):
        yield Trap(
            "yaml-sexagesimal", place, f"{text} is a number of base 60 to YAML 1.1. Put it in quotes.", text, f'"{text}"'
        )
    elif _OCTAL.fullmatch(text):
        yield Trap("yaml-octal", place, f"{text} is octal to YAML 1.1. Write it without the leading 0, or in quotes.")
    elif _BOOLEAN.fullmatch(text) and node.tag.endswith(":bool"):
        right = "true" if text.lower() in ("y", "yes", "on") else "false"
        yield Trap("yaml-boolean", place, f"{text} is a boolean to YAML 1.1. Write {right}, or put it in quotes.", text, right)


def _place(node: Any) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
