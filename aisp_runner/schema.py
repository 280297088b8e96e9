"""Checks a config against its JSON Schema, and says in a sentence each what is wrong with it.

In the schemas, `title` is the noun phrase for what is wanted ("a list of axis names or sizes"); messages are made of it.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema

from aisp_runner.content import installed_root
from aisp_runner.errors import did_you_mean

MAX_PROBLEMS = 50
"""Problems of one file that are told."""
MAX_KEY = 60
"""Characters of a key that are shown."""


@functools.cache
def load(name: str) -> dict[str, Any]:
    """The schema schemas/NAME.schema.json."""
    loaded: dict[str, Any] = json.loads((installed_root() / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    return loaded


def problems(value: Any, name: str) -> list[str]:
    """Everything wrong with `value` under schema `name`, as "path.to.key: what is wrong", in the order of the paths."""
    found = key_problems(value) + number_problems(value)
    errors = list(_validator(name).iter_errors(with_text_keys(value)))
    errors.sort(key=lambda error: [str(part) for part in error.absolute_path])
    sentences = itertools.chain.from_iterable(_sentences(error) for error in errors)
    found += itertools.islice(sentences, MAX_PROBLEMS + 1)
    told = list(dict.fromkeys(found))
    return told if len(told) <= MAX_PROBLEMS else [*told[:MAX_PROBLEMS], "and more. Mend these first."]


def number_problems(value: Any, where: tuple[str | int, ...] = ()) -> list[str]:
    """Numbers that no comparison with a limit refuses: NaN is neither below nor above it."""
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{place(where)}{value} is not a finite number."]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [problem for key, inner in parts for problem in number_problems(inner, (*where, key))]


def key_problems(value: Any, where: tuple[str | int, ...] = ()) -> list[str]:
    """Keys that YAML did not read as text: `on:` is True, `3:` a number."""
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, bool):
                found.append(
                    f"{place(where)}the key {key}: YAML reads on, off, yes, no, true and false as booleans. "
                    "Put it in quotes, or use another name."
                )
            elif not isinstance(key, str):
                found.append(f"{place(where)}the key {key!r} is {kind(key)}; a name is wanted.")
            found += key_problems(inner, (*where, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += key_problems(inner, (*where, index))
    return found


def with_text_keys(value: Any) -> Any:
    """`value` without the entries whose key is not text."""
    if isinstance(value, dict):
        return {key: with_text_keys(inner) for key, inner in value.items() if isinstance(key, str)}
    return [with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def nearest(word: str, known: Iterable[str]) -> str:
    """`did_you_mean`, knowing that a gpu is called cuda here."""
    known = list(known)
    return " Did you mean 'cuda'?" if word.lower() in ("gpu", "nvidia") and "cuda" in known else did_you_mean(word, known)


def dotted(parts: Iterable[str | int]) -> str:
    """A path as configs and the command line write it: optimized[1].device."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part if len(part) <= MAX_KEY else part[:MAX_KEY] + '...'}"
    return text.removeprefix(".")


def place(parts: Iterable[str | int]) -> str:
    """The path with a colon ("inputs.a: "), or "" for the whole file."""
    text = dotted(parts)
    return f"{text}: " if text else ""


def kind(value: Any) -> str:
    """What a YAML value is, with the article: "a string", "a list"."""
    if value is None:
        return "nothing (null)"
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), f"a {type(value).__name__}")


@functools.cache
def _validator(name: str) -> Any:
    types = jsonschema.Draft7Validator.TYPE_CHECKER.redefine("integer", _is_whole)
    return jsonschema.validators.extend(jsonschema.Draft7Validator, type_checker=types)(load(name))


def _is_whole(checker: Any, value: Any) -> bool:
    """JSON Schema takes 2.0 for an integer; a count of processes or a size is none in Python then."""
    return isinstance(value, int) and not isinstance(value, bool)


def _sentences(error: Any) -> Iterator[str]:
    """The sentences for one error of the validator; more than one where it stands for several keys or alternatives."""
    where, value, schema = place(error.absolute_path), error.instance, error.schema
    wanted = schema.get("title", "something else")
    if error.validator == "additionalProperties" and isinstance(error.validator_value, bool):
        known = schema.get("properties", {})
        for key in value:
            if key not in known:
                path = dotted([*error.absolute_path, key])
                comma = " A comma ends a value inside { }: put the text before it in quotes." if value[key] is None else ""
                yield f"{path}: unknown key.{nearest(key, known)}{comma} Known keys: {', '.join(sorted(known))}."
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in value:
                needed = schema.get("properties", {}).get(key, {}).get("title")
                yield f"{dotted([*error.absolute_path, key])}: missing.{f' {capitalised(needed)} is wanted.' if needed else ''}"
    elif error.validator == "anyOf":
        yield from _alternative(error, wanted)
    elif error.validator == "enum":
        choices = [str(choice) for choice in error.validator_value if choice is not None]
        near = nearest(value, choices) if isinstance(value, str) else _boolean_hint(value)
        yield f"{where}{_shown(value)} is not one of {', '.join(choices)}.{near}"
    elif error.validator == "pattern" and "propertyNames" in error.schema_path:
        yield f"{where}{_shown(value)} is not {wanted}."
    elif error.validator == "type":
        yield f"{where}{_shown(value)} is {kind(value)}; {wanted} is wanted.{_boolean_hint(value)}{_quote_hint(value, error)}"
    elif error.validator in ("minProperties", "minItems", "minLength") and not value:
        yield f"{where}it is empty; {wanted} is wanted."
    elif error.validator == "uniqueItems":
        twice = sorted({str(item) for item in value if value.count(item) > 1})
        yield f"{where}{', '.join(twice)} is there twice. Leave one out."
    else:
        yield f"{where}{_shown(value)} is not allowed; {wanted} is wanted."


def _alternative(error: Any, wanted: str) -> Iterator[str]:
    """For anyOf: the errors of the alternative whose type fits the value, or what all of them want."""
    branches: dict[int, list[Any]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    for inners in branches.values():
        if not any(inner.validator in ("type", "anyOf") and not inner.path for inner in inners):
            for inner in inners:
                yield from _sentences(inner)
            return
    value = error.instance
    yield f"{place(error.absolute_path)}{_shown(value)} is {kind(value)}; {wanted} is wanted.{_boolean_hint(value)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _boolean_hint(value: Any) -> str:
    return " YAML reads on, off, yes and no as booleans: put it in quotes." if isinstance(value, bool) else ""


def _quote_hint(value: Any, error: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f' Put it in quotes: "{value}".' if number and error.validator_value == "string" else ""


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]
