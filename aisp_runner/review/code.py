"""Whether a function of a kernel file does something else than before: a digest of what it consists of, comments left out.

Of its own file that is the function, everything at the top of the file that it names, also through each other, and statements
there that define nothing; of the modules it imports from its folder, all. A name that is computed is not seen.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from aisp_runner import sources


def digest(path: Path, function: str, cuda: tuple[str, ...] = ()) -> str:
    """Twelve hexadecimal digits. cuda: CUDA C++ files beside it, of which every byte counts."""
    parts = _parts(path)
    wanted, todo = set[str](), [function]
    while todo:
        name = todo.pop()
        if name not in wanted and name in parts.defined:
            wanted.add(name)
            todo += sorted(parts.defined[name][1])
    told = [parts.always, *(parts.defined[name][0] for name in sorted(wanted))]
    told += [_parts(file).whole for file in _siblings(path)]
    for name in cuda:
        told += [hashlib.sha256(file.read_bytes()).hexdigest() for file in sources.with_headers(path.parent / name)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


class _Parts:
    """A Python file taken to pieces."""

    def __init__(self, text: str, name: str) -> None:
        tree = ast.parse(text, name)
        for node in ast.walk(tree):
            _without_docstring(node)
        self.whole = _dump(tree)
        self.defined: dict[str, tuple[str, set[str]]] = {}
        loose = []
        for node in tree.body:
            names = list(_names(node))
            for defined in names:
                before = self.defined.get(defined, ("", set()))
                self.defined[defined] = before[0] + _dump(node), before[1] | _used(node)
            if not names:
                loose.append(_dump(node))
        self.always = "".join(loose)


@functools.lru_cache(maxsize=4096)
def _siblings(path: Path) -> list[Path]:
    return sources.closure(path)[1:]


@functools.lru_cache(maxsize=4096)
def _parts(path: Path) -> _Parts:
    return _Parts(path.read_text("utf-8"), str(path))


def _names(node: ast.stmt) -> Iterator[str]:
    """What a statement at the top of a file defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name))
    elif isinstance(node, ast.If | ast.Try | ast.With):
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.stmt):
                yield from _names(inner)


def _used(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _dump(node: ast.AST) -> str:
    return ast.dump(node, annotate_fields=False)


def _without_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node, False):
        node.body = node.body[1:] or [ast.Pass()]
