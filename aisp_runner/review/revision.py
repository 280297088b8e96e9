"""The files of a revision that configs can name, as a folder: a folder itself, the working tree, or a commit of git.

Of a commit only plain files of the known kinds are written out, none of them through a symbolic link, so that a hostile branch
can neither reach outside nor fill the disk.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aisp_runner.errors import ConfigError

KERNELS = (".py", ".cu", ".cuh", ".h", ".hpp", ".cpp")
KINDS = (".yaml", ".yml", *KERNELS)
"""Files that a config is, or that it names."""
MAX_BYTES = 1 << 20
"""A larger file is left out: no config and no kernel file is."""
MAX_FILES = 20_000


@dataclass(frozen=True)
class Revision:
    """One side of a review."""

    name: str
    """As messages show it: a short commit, "working tree" or the folder."""
    folder: Path


def pair(asked: str, other: Path | None, into: Path, repository: Path) -> tuple[Revision, Revision]:
    """Base and head of BASE..HEAD, BASE (against the working tree), or of two folders. Commits are written below `into`.

    BASE...HEAD means from where HEAD left BASE, as git has it. Raises ConfigError for a revision or folder that is not there.
    """
    if other is not None:
        return _folder(Path(asked)), _folder(other)
    first, dots, last = asked.partition("...")
    if not dots:
        first, dots, last = asked.partition("..")
    base = _commit(first or "HEAD", repository)
    if asked.count("...") and last:
        base = _git(repository, "merge-base", base, _commit(last, repository)).strip()
    tree = Path(_git(repository, "rev-parse", "--show-toplevel").strip())
    head = _written(_commit(last, repository), into / "head", repository) if last else Revision("working tree", tree)
    return _written(base, into / "base", repository), head


def _folder(path: Path) -> Revision:
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such folder. Give two folders, or BASE..HEAD of a git repository.")
    return Revision(str(path), path.resolve())


def _commit(name: str, repository: Path) -> str:
    if name.startswith("-"):
        raise ConfigError(f"'{name}' is no revision.")
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except ConfigError:
        raise ConfigError(f"'{name}' is no commit here. Fetch it (git fetch origin {name}), or give two folders.") from None


def _written(commit: str, folder: Path, repository: Path) -> Revision:
    """A commit's plain files of the known kinds."""
    wanted: list[tuple[str, PurePosixPath]] = []
    for line in _git(repository, "ls-tree", "-r", "-l", "-z", "--full-tree", commit).split("\0"):
        about, _, name = line.partition("\t")
        path = PurePosixPath(name)
        if not about or path.suffix not in KINDS or path.is_absolute() or ".." in path.parts:
            continue
        mode, _, blob, size = about.split()
        if mode.startswith("100") and int(size) <= MAX_BYTES:
            wanted.append((blob, path))
    if len(wanted) > MAX_FILES:
        raise ConfigError(f"{commit[:10]} has {len(wanted)} config and kernel files; at most {MAX_FILES} are reviewed.")
    for path, content in zip((p for _, p in wanted), _blobs(repository, [blob for blob, _ in wanted]), strict=True):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    return Revision(commit[:10], folder.resolve())


def _blobs(repository: Path, names: list[str]) -> list[bytes]:
    """Contents by git cat-file, all in one process."""
    asked = "".join(f"{name}\n" for name in names).encode()
    told = _run(repository, ["cat-file", "--batch"], asked)
    contents, at = [], 0
    for _ in names:
        end = told.index(b"\n", at)
        size = int(told[at:end].split()[2])
        contents.append(told[end + 1 : end + 1 + size])
        at = end + size + 2
    return contents


def _git(repository: Path, *words: str) -> str:
    return _run(repository, list(words), b"").decode("utf-8", "surrogateescape")


def _run(repository: Path, words: list[str], given: bytes) -> bytes:
    command = ["git", "-C", str(repository), *words]
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise ConfigError("git is not installed. Install it, or give two folders.") from None
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
        raise ConfigError(f"git {words[0]}: {told or f'exit code {done.returncode}'}")
    return done.stdout
