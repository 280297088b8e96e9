"""Every schema: there is one for each kind of file, it is draft-07, and each property says what it is, in which unit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from aisp_runner.content import content_root

FILES = sorted((content_root() / "schemas").glob("*.schema.json"))
NAMES = [path.name.partition(".")[0] for path in FILES]
WRITTEN_BY_PEOPLE = ("workload", "chapter", "lab", "suite", "config")
"""Files that people write, and the settings: a key that is left out has a default, or the text says that it must be given."""
NEEDED = {*WRITTEN_BY_PEOPLE, "plan", "record", "evidence", "quarantine", "peak"}
UNIT = re.compile(
    r"\b([Uu]nit|ns|us|ms|s|microseconds|seconds|ratio|fractions?|bytes|second|GiB|MiB|MHz|W|degrees|counts?|ISO 8601)\b"
)
NUMBERS = ("number", "integer")


def properties(node: Any, root: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property with its place; a reference without a description of its own stands for what it refers to."""
    if isinstance(node, list):
        for index, inner in enumerate(node):
            yield from properties(inner, root, f"{where}[{index}]")
    if not isinstance(node, dict):
        return
    for name, inner in node.get("properties", {}).items():
        target = root["definitions"][inner["$ref"].rpartition("/")[2]] if "$ref" in inner else {}
        yield f"{where}.{name}", {**target, **inner}
    for name, inner in node.items():
        if name not in ("if", "then", "else", "required", "enum", "examples"):
            yield from properties(inner, root, f"{where}.{name}")


def kinds(told: dict[str, Any]) -> set[str]:
    """The types that a property may have."""
    own = told.get("type", [])
    found = set(own if isinstance(own, list) else [own])
    return found.union(*(kinds(each) for word in ("anyOf", "oneOf") for each in told.get(word, ())))


def lacking(root: dict[str, Any], name: str) -> list[str]:
    """What is missing from the descriptions of a schema's properties: the text, the unit of a number, the default."""
    found = []
    for where, told in properties(root, root):
        text = told.get("description", "")
        if len(text.split()) < 3:
            found.append(f"{name}{where}: no description")
        elif kinds(told) & set(NUMBERS) and not UNIT.search(text):
            found.append(f"{name}{where}: no unit in {text!r}")
        if name in WRITTEN_BY_PEOPLE and not ("unit" in text.lower() and "default" in text.lower()):
            found.append(f"{name}{where}: unit or default not told in {text!r}")
        if name == "plan" and "default" not in text.lower():
            found.append(f"{name}{where}: default not told in {text!r}")
    return found


def test_there_is_a_schema_for_each_kind_of_file() -> None:
    assert set(NAMES) >= NEEDED


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_schema_is_draft_07_and_named_after_its_file(path: Any) -> None:
    loaded = json.loads(path.read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(loaded)
    assert loaded["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert loaded["$id"] == path.name
    assert loaded["title"] and loaded["description"]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_property_says_what_it_is_in_which_unit_and_its_default(path: Any) -> None:
    root = json.loads(path.read_text("utf-8"))
    assert len(list(properties(root, root))) >= 3
    assert lacking(root, path.name.partition(".")[0]) == []


@pytest.mark.parametrize(
    ("told", "name", "missing"),
    [
        ({"type": "string"}, "record", "no description"),
        ({"type": "number", "description": "How long it took."}, "record", "no unit"),
        ({"type": ["integer", "null"], "description": "How many there were."}, "peak", "no unit"),
        ({"type": "string", "description": "A name. No unit."}, "lab", "unit or default"),
        ({"type": "string", "description": "A name. No unit."}, "plan", "default not told"),
    ],
    ids=["text", "number", "number or null", "default of a config", "default of a plan"],
)
def test_a_property_that_says_too_little_is_found(told: dict[str, Any], name: str, missing: str) -> None:
    inner = {"type": "object", "properties": {"x": told}}
    (found,) = lacking({"type": "object", "definitions": {"Inner": inner}}, name)
    assert missing in found and ".definitions.Inner.x" in found
