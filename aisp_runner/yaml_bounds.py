"""What a config's YAML may hold, looked at before any value is built of it: a page of text can stand for more values than fit
into memory, name classes to be made, or hold characters that rewrite a terminal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """How large a file's content may be."""

    size: int
    """Bytes."""
    values: int
    """Keys, items and scalars, aliases written out."""
    items: int
    """Entries of one list or mapping."""


PAGE = Bounds(size=1 << 18, values=4_000, items=1_000)
"""A config: the largest of this project has 150 values."""
LEDGER = Bounds(size=1 << 20, values=20_000, items=2_000)
"""A file that this project writes itself: a quarantine, expected ranges."""

MAX_DEPTH = 50
MAX_DIGITS = 40
"""Characters of a number; a longer one can take time quadratic in its length to read."""

UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but tab and line ends, characters without width or that turn the writing direction, half surrogates."""

_NUMBER = re.compile(r"[-+]?(0x[0-9a-f_]+|[0-9.][0-9_.:]*(e[-+]?[0-9]+)?|\.(inf|nan))", re.IGNORECASE)


@dataclass
class _Open:
    """A list or mapping whose end was not met yet."""

    anchor: str | None
    is_mapping: bool
    line: int
    values: int = 1
    parts: int = 0


@dataclass
class _Walk:
    """What was met of a document."""

    bounds: Bounds
    stack: list[_Open] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    """Values that each anchor stands for; 0 while it is not at its end."""

    def add(self, values: int, line: int) -> None:
        """Counts a value into what it stands in."""
        if not self.stack:
            return
        top = self.stack[-1]
        top.values += values
        top.parts += 1
        if top.values > self.bounds.values:
            raise ValueError(f"line {top.line}: with its aliases written out it has more than {self.bounds.values} values.")
        if top.parts > self.bounds.items * (2 if top.is_mapping else 1):
            raise ValueError(f"line {line}: a list or mapping has more than {self.bounds.items} entries.")

    @property
    def at_key(self) -> bool:
        """Whether what comes next is a key."""
        return bool(self.stack) and self.stack[-1].is_mapping and self.stack[-1].parts % 2 == 0


def refuse_bombs(text: str, bounds: Bounds = PAGE) -> None:
    """Raises ValueError ("line 3: ...") for what is too large, too deep, refers to itself, has a tag, a number without end or a
    character that cannot be seen, and yaml.YAMLError for what is not YAML. Builds no value."""
    import yaml

    _refuse_text(text, bounds)
    try:
        _walk(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), bounds)
    except yaml.YAMLError:  # told by the parser whose words are shown, which goes no further than the bounds either
        _walk(yaml.parse(text, Loader=yaml.SafeLoader), bounds)


def nodes(text: str, name: str = "", bounds: Bounds = PAGE) -> Any:
    """The text's root node, or None where it is empty; nothing is constructed. Raises what `refuse_bombs` raises."""
    import yaml

    refuse_bombs(text, bounds)
    loader = yaml.SafeLoader(text)
    loader.name = name or loader.name
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def value(text: str, name: str = "", bounds: Bounds = PAGE, kind: Any = None) -> Any:
    """The text as plain values, None where it is empty. Raises what `refuse_bombs` raises.

    kind: class of the loader; default: yaml.SafeLoader, in C where PyYAML was built with it.
    """
    import yaml

    refuse_bombs(text, bounds)
    loader = (kind or getattr(yaml, "CSafeLoader", yaml.SafeLoader))(text)
    loader.name = name or getattr(loader, "name", "")
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _refuse_text(text: str, bounds: Bounds) -> None:
    if found := UNSEEN.search(text):
        _refuse_character(found[0], text.count("\n", 0, found.start()) + 1)
    _refuse_brackets(text)
    size = len(text.encode())
    if size > bounds.size:
        raise ValueError(f"line 1: it has {size / 2**20:.1f} MiB; a config may have {bounds.size / 2**20:g}.")


def _refuse_brackets(text: str) -> None:
    """Brackets without their ends, comments and quotes aside: a parser that is not in C takes time quadratic in their depth."""
    if text.count("[") + text.count("{") <= 2 * MAX_DEPTH:
        return
    depth = 0
    for found in re.finditer(r"[][{}]", text):
        depth += 1 if found[0] in "[{" else -1
        if depth > 2 * MAX_DEPTH:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(f"line {line}: it is nested deeper than the {MAX_DEPTH} levels that a config may have.")


def _refuse_character(character: str, line: int) -> None:
    code = f"U+{ord(character):04X}"
    raise ValueError(f"line {line}: it holds {code}, which cannot be seen. A config is printable text: remove it.")


def _walk(events: Iterable[Any], bounds: Bounds) -> None:
    """Looks at the events of the first document; a second one is refused where nodes are made."""
    met = _Walk(bounds)
    for event in events:
        kind, line = type(event).__name__, event.start_mark.line + 1
        if kind == "DocumentEndEvent":
            return
        if kind == "AliasEvent":
            if not met.known.get(event.anchor, 1):
                raise ValueError(f"line {line}: an alias refers to what it stands in.")
            met.add(met.known.get(event.anchor, 1), line)
        elif kind == "ScalarEvent":
            _refuse_tag(event, line)
            _refuse_scalar(event, line, met.at_key)
            met.known.update({event.anchor: 1} if event.anchor else {})
            met.add(1, line)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            _refuse_tag(event, line)
            met.known.update({event.anchor: 0} if event.anchor else {})
            met.stack.append(_Open(event.anchor, kind == "MappingStartEvent", line))
            if len(met.stack) > MAX_DEPTH:
                raise ValueError(f"line {line}: it is nested deeper than the {MAX_DEPTH} levels that a config may have.")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            done = met.stack.pop()
            met.known.update({done.anchor: done.values} if done.anchor else {})
            met.add(done.values, line)


def _refuse_tag(event: Any, line: int) -> None:
    if event.tag is not None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        raise ValueError(f"line {line}: the tag {tag[:60]}: a config is plain values. Remove it; put text in quotes.")


def _refuse_scalar(event: Any, line: int, is_key: bool) -> None:
    text = event.value
    if event.style == '"' and (found := UNSEEN.search(text)):  # written as an escape
        _refuse_character(found[0], line)
    if is_key and "\n" in text:
        raise ValueError(f"line {line}: a key has a line break in it.")
    if event.style or not _NUMBER.fullmatch(text):
        return
    if len(text) > MAX_DIGITS:
        raise ValueError(f"line {line}: a number of {len(text)} characters; at most {MAX_DIGITS} are read.")
    if text.lower().endswith(("nan", "inf")) or _overflows(text):
        raise ValueError(f"line {line}: {text} is not a finite number.")


def _overflows(text: str) -> bool:
    try:
        return not math.isfinite(float(text.replace("_", "")))
    except ValueError:  # of another base, or a version such as 2.11.0: no float
        return False
