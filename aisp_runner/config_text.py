"""The text of a config file that may come from a stranger: a regular file of bounded size, inside its folder, in UTF-8.

Nothing that could block or has no end is opened: a FIFO, a device, a link to either.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aisp_runner.content import content_root

MAX_BYTES = 1 << 18
"""A config is a page; what is larger is not one."""

GROUPS = ("workload", "workloads", "chapter", "lab", "suite", "measure")
"""Folders inside a config dir. A file elsewhere is taken to be alone in its folder."""

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UnreadableError(ValueError):
    """A file that is not read as a config, with the reason."""


def read(path: Path, root: Path | None = None, most: int = MAX_BYTES) -> str:
    """The file's text, without a byte order mark.

    root: the folder that a link must not lead out of; default: the config dir that the file lies in. most: largest size, bytes.
    Raises UnreadableError, and OSError for a file that is not there or may not be read.
    """
    found = path.stat()
    _refuse_kind(found)
    _refuse_outside(path, root)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        _refuse_kind(os.fstat(file.fileno()))  # it may have been replaced since
        _refuse_size(found.st_size, most)
        content = file.read(most + 1)  # a file of /proc says that it has 0 bytes
    _refuse_size(len(content), most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 text (byte {error.start}).") from None


def _refuse_kind(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in KINDS if test(found.st_mode)), "no regular file")
        raise UnreadableError(f"is {kind}; a config is a regular file.")


def _refuse_outside(path: Path, root: Path | None) -> None:
    """A link out of the config dir could make messages quote a file that nobody meant to show."""
    if content_root().name == "content" and path.is_relative_to(content_root()):
        return  # an installed package, whose files an installer may have linked
    parent = path.absolute().parent
    inside = root or (parent.parent if parent.name in GROUPS else parent)
    if not path.resolve().is_relative_to(inside.resolve()):
        raise UnreadableError("is a link that leads out of its config dir. Copy the file.")


def _refuse_size(size: int, most: int) -> None:
    if size > most:
        raise UnreadableError(f"line 1: it has {size / 2**20:.1f} MiB; a config may have {most / 2**20:g}.")
