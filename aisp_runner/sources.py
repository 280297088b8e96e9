"""Kernel files, read but never imported: what they consist of, which functions they hold, and whether they changed.

A source is a Python file, the sibling modules it imports (also through those), its CUDA C++ files and the headers beside
them. Blind spot: a module imported under a computed name, and a file that is opened as data, are not seen.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aisp_runner.case import Source
from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError

CONTENT_FOLDERS = ("kernels", "labs")
"""Folders of the content root whose sources are named relative to it, so that a plan travels between machines."""

MAX_BYTES = 1 << 18
"""Size of a source file; the largest of this project has 20 KB."""

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Function:
    """A top-level name of a kernel file that can be called."""

    name: str
    line: int
    parameters: tuple[str, ...] | None
    """Names in order, without those that have a default. None: not known from the text (an import or an assignment)."""
    shown: str
    """The signature for messages: "loop(x, y, c)"."""

    def takes(self, names: tuple[str, ...]) -> bool:
        """Whether it can be called with exactly these names, in this order."""
        return self.parameters is None or self.parameters == names or self.parameters == ("*",)


def functions(path: Path) -> dict[str, Function]:
    """The top-level functions of a Python file by name, also those inside a top-level `if`, `try` or `with`.

    Raises ConfigError when the file cannot be read as Python.
    """
    return dict(_functions(path, _content(path)))


@functools.lru_cache(maxsize=256)
def _functions(path: Path, text: bytes) -> dict[str, Function]:
    found: dict[str, Function] = {}
    for node in _top_level(_parse(path, text).body):
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _function(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            callable_looking = isinstance(node.value, ast.Call | ast.Name | ast.Attribute | ast.Lambda)
            for target in targets:
                if isinstance(target, ast.Name) and callable_looking:
                    found[target.id] = Function(target.id, node.lineno, None, f"{target.id}(...)")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                found.setdefault(name, Function(name, node.lineno, None, f"{name}(...)"))
    return found


def defined(path: Path) -> list[str]:
    """Names of the functions that a Python file itself defines, for messages."""
    return [name for name, function in functions(path).items() if function.parameters is not None and not name.startswith("_")]


def closure(path: Path) -> list[Path]:
    """A kernel file and the sibling modules it imports, also through each other; the file first, then by path.

    Siblings are files and packages in the kernel file's folder that `import name`, `from name import x` or a relative import
    finds. Raises ConfigError for what is no Python, and for more than no person wrote.
    """
    path = path.resolve()
    seen: dict[Path, None] = {}
    todo, size = [path], 0
    while todo:
        file = todo.pop()
        if file not in seen:
            seen[file] = None
            size += file.stat().st_size
            if size > 2 * MAX_BYTES:
                raise ConfigError(f"{shown(path)}: with what it imports beside it, it has over {MAX_BYTES >> 9} KiB. Split it.")
            todo.extend(_imported(file, path.parent))
    return [path, *sorted(file for file in seen if file != path)]


def describe(path: Path, cuda: Iterable[str] = ()) -> Source:
    """The Source of a kernel file: where it is, and a digest of each file it consists of.

    cuda: CUDA C++ files, relative to the kernel file's folder. Raises ConfigError naming a file that is missing.
    """
    path, cuda = path.resolve(), tuple(cuda)
    files = closure(path)
    for name in cuda:
        file = path.parent / name
        if not file.is_file():
            raise ConfigError(f"{shown(file)}: no such file. `cuda:` names CUDA C++ files beside {path.name}.")
        files.extend(with_headers(file))
    relative = {os.path.relpath(file, path.parent).replace(os.sep, "/"): file for file in dict.fromkeys(files)}
    return Source(path=_portable(path), sha256={name: _digest(relative[name]) for name in sorted(relative)}, cuda=cuda)


def resolve(source: Source) -> Path:
    """Where a Source's Python file lies on this machine. It need not exist."""
    path = Path(source.path)
    return path if path.is_absolute() else content_root() / path


def changed(source: Source) -> list[str]:
    """Files of a Source whose content is not what it was when the plan was made, or that are gone; relative to its folder."""
    folder = resolve(source).parent
    return [name for name, sha256 in source.sha256.items() if not (folder / name).is_file() or _digest(folder / name) != sha256]


def _portable(path: Path) -> str:
    root = content_root()
    if path.is_relative_to(root):
        relative = path.relative_to(root)
        if relative.parts[0] in CONTENT_FOLDERS:
            return relative.as_posix()
    return str(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(path: Path, text: bytes) -> ast.Module:
    """The syntax tree of a file's text, which nobody may change: it is kept for as long as the file stays the same."""
    try:
        return _parsed(str(path), text)
    except (RecursionError, MemoryError):
        raise ConfigError(f"{shown(path)}: not Python: it is nested too deeply.") from None
    except SyntaxError as error:
        line = f" line {error.lineno}:" if error.lineno else ""
        raise ConfigError(f"{shown(path)}:{line} not Python: {error.msg}.") from None
    except ValueError as error:
        raise ConfigError(f"{shown(path)}: not Python: {error}.") from None


def _content(path: Path) -> bytes:
    """A source's bytes. Raises ConfigError for one that no person wrote: its syntax tree takes 300 times its size."""
    try:
        size = path.stat().st_size
        if size <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {error.strerror}.") from None
    raise ConfigError(f"{shown(path)}: it has {size / 2**20:.1f} MiB; a source may have {MAX_BYTES / 2**20:g}. Split it.")


@functools.lru_cache(maxsize=8)
def _parsed(name: str, text: bytes) -> ast.Module:
    return ast.parse(text, filename=name)


@functools.lru_cache(maxsize=512)
def _imports(name: str, text: bytes) -> tuple[ast.Import | ast.ImportFrom, ...]:
    return tuple(node for node in ast.walk(_parsed(name, text)) if isinstance(node, ast.Import | ast.ImportFrom))


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _top_level(getattr(node, name, []))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _top_level(handler.body)


def _function(node: ast.FunctionDef) -> Function:
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    required = [a.arg for a in positional[: len(positional) - len(given.defaults)]]
    required += [a.arg for a, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    if given.vararg and not required:
        required = ["*"]
    return Function(node.name, node.lineno, tuple(required), f"{node.name}({', '.join(_shown_parameters(given))})")


def _shown_parameters(given: ast.arguments) -> list[str]:
    names = [a.arg for a in [*given.posonlyargs, *given.args]]
    names += [f"*{given.vararg.arg}"] if given.vararg else []
    return names + [a.arg for a in given.kwonlyargs]


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    """Files in `folder` that `file` imports, anywhere in its text."""
    text = _content(file)
    _parse(file, text)  # raises for what is no Python
    for node in _imports(str(file), text):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(folder, alias.name.split("."))
        else:
            base = folder if node.level == 0 else file.parents[node.level - 1]
            parts = node.module.split(".") if node.module else []
            yield from _module_files(base, parts)
            for alias in node.names:
                yield from _module_files(base, [*parts, alias.name])


def _module_files(folder: Path, parts: list[str]) -> Iterator[Path]:
    """The files that importing the dotted name `parts` from `folder` reads: each package's __init__.py and the module."""
    for part in parts:
        if (module := folder / f"{part}.py").is_file():
            yield module.resolve()
            return
        folder = folder / part
        if not folder.is_dir():
            return
        if (package := folder / "__init__.py").is_file():
            yield package.resolve()


def with_headers(file: Path) -> list[Path]:
    """A CUDA C++ file and the headers it names in quotes that lie beside the file that names them, also through each other."""
    seen: dict[Path, None] = {}
    todo = [file.resolve()]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen[current] = None
        for name in _INCLUDE.findall(_content(current)):
            header = current.parent / os.fsdecode(name)
            if header.is_file():
                todo.append(header.resolve())
    return list(seen)
