"""schemas/plan.schema.json, made from the dataclasses of case.py and the texts under their fields.

`python -m aisp_runner.plan_schema` writes it; a test fails when it was forgotten.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import types
import typing
from typing import Any

from aisp_runner import case
from aisp_runner.content import content_root

KINDS = (case.Plan, case.Case, case.Skip, case.Tensor, case.Variant, case.Source, case.Measure, case.Limits)
"""The dataclasses a plan is made of; the first is the plan."""

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}


def plan_schema() -> dict[str, Any]:
    """The JSON Schema (draft-07) of plan.json."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "plan.schema.json",
        "title": "a plan: what a run will do, decided before anything is started",
        "description": "Made by `aisp-run mode=plan` or any run; run again by `python -m aisp_runner.execute plan.json`.",
        "type": "object",
        "additionalProperties": False,
        "required": ["sha256", "plan"],
        "properties": {
            "sha256": {
                "description": "Digest of the canonical JSON (sorted keys) of `plan`. No unit. No default.",
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
            },
            "plan": {"description": "The plan itself. No unit. No default.", "$ref": "#/definitions/Plan"},
        },
        "definitions": {kind.__name__: _object(kind) for kind in KINDS},
    }


def text() -> str:
    """The schema as the file holds it."""
    return json.dumps(plan_schema(), indent=2, ensure_ascii=False) + "\n"


def _object(kind: type) -> dict[str, Any]:
    hints, docs = typing.get_type_hints(kind), _field_docs(kind)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            required.append(field.name)
        description = docs.get(field.name, f"{field.name.replace('_', ' ').capitalize()}.")
        description += f" {_default(default)}"
        properties[field.name] = {"description": description, **_type(hints[field.name])}
    return {
        "description": " ".join((kind.__doc__ or "").split()),
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "No default."
    return f"Default: {f'that of {type(value).__name__}' if dataclasses.is_dataclass(value) else json.dumps(value)}."


def _type(hint: Any) -> dict[str, Any]:
    """The schema of a type that `case.from_json` reads."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin is types.UnionType:
        return {"anyOf": [_type(args[0]), {"type": "null"}]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(args[1])}
    if origin is tuple and args[-1] is Ellipsis:
        return {"type": "array", "items": _type(args[0])}
    if origin is tuple:
        return {"type": "array", "items": [_type(arg) for arg in args], "minItems": len(args), "maxItems": len(args)}
    return {"type": _SIMPLE[hint]} if hint in _SIMPLE else {"$ref": f"#/definitions/{hint.__name__}"}


def _field_docs(kind: type) -> dict[str, str]:
    """The text under each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            written = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below.value.value
            docs[field.target.id] = " ".join(written.split()) if isinstance(written, str) else ""
    return {name: doc for name, doc in docs.items() if doc}


if __name__ == "__main__":
    (content_root() / "schemas" / "plan.schema.json").write_text(text(), "utf-8")
