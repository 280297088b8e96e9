"""How large a config may be before it is read: aliases can make a page stand for more values than fit into memory."""

from __future__ import annotations

from typing import Any

MAX_BYTES = 1 << 20
"""A config is a page; what is larger is not one."""
MAX_VALUES = 20_000
MAX_DEPTH = 50


def refuse_bombs(text: str, name: str = "") -> None:
    """Raises what `nodes` raises. Without an anchor a text stands for no more than it says, and is only measured."""
    if "&" in text:
        nodes(text, name)
    else:
        _refuse_large(text)


def nodes(text: str, name: str = "") -> Any:
    """The text's root node, or None where it is empty; nothing is constructed, so tags come to nothing.

    name: the file, for errors of the parser. Raises ValueError ("line 3: ...") for what is too large, too deep or refers to
    itself, and yaml.YAMLError for what is not YAML.
    """
    import yaml

    _refuse_large(text)
    loader = yaml.SafeLoader(text)
    loader.name = name or loader.name
    try:
        root = loader.get_single_node()
    except RecursionError:
        raise ValueError(f"line 1: it is nested deeper than the {MAX_DEPTH} levels that a config may have.") from None
    finally:
        loader.dispose()
    if root is not None:
        _count(root, {}, 0)
    return root


def _refuse_large(text: str) -> None:
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ValueError(f"line 1: it has {size / 2**20:.1f} MiB; a config may have {MAX_BYTES >> 20}.")


def _count(node: Any, known: dict[int, int], depth: int) -> int:
    """Values that a node stands for, aliases written out. Raises ValueError."""
    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        raise ValueError(f"line {line}: it is nested deeper than the {MAX_DEPTH} levels that a config may have.")
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError(f"line {line}: an alias refers to what it stands in.")
        return known[id(node)]
    known[id(node)] = 0
    parts = (
        [part for pair in node.value for part in pair] if node.id == "mapping" else node.value if node.id == "sequence" else []
    )
    total = 1 + sum(_count(part, known, depth + 1) for part in parts)
    if total > MAX_VALUES:
        raise ValueError(f"line {line}: with its aliases written out it has more than {MAX_VALUES} values.")
    known[id(node)] = total
    return total
