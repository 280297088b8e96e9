"""A file of records on the disk: adding a line that is there whole or not at all, mending what a killed process left, and
which of its records still stand.

A file is only ever added to. A record that is replaced stays where it is; the one that takes its place says so (`supersedes`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aisp_runner import chain
from aisp_runner.errors import ConfigError, DiskError


def known_as(record: dict[str, Any]) -> str:
    """The digest that a record was first written with: it is the same in the file of a shard and in a merged one."""
    origin = record.get("origin")
    claim = origin.get("chain") if isinstance(origin, dict) else record.get("chain")
    return str(claim["sha256"]) if isinstance(claim, dict) and "sha256" in claim else chain.digest(record)


def standing(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that no other record of the file takes the place of, in their order."""
    replaced = {str(r["supersedes"].get("sha256")) for r in records if isinstance(r.get("supersedes"), dict)}
    return [r for r in records if known_as(r) not in replaced] if replaced else list(records)


def add_line(descriptor: int, text: bytes, path: Path | str) -> None:
    """Writes bytes to the end of an open file and syncs them to the disk. Raises DiskError where the disk refuses them; the
    file then is what it was before.
    """
    before = os.fstat(descriptor).st_size
    os.lseek(descriptor, 0, os.SEEK_END)
    try:
        left = memoryview(text)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):  # what is half there then is a half-written line, which `mend` cuts off
            os.ftruncate(descriptor, before)
            os.fsync(descriptor)
        raise DiskError(
            f"{path}: a record of {len(text)} bytes could not be written: {error.strerror}. The records before it are on the "
            f"disk, unchanged. Make room, then go on with resume={Path(path).parent}."
        ) from error
    if before == 0:
        sync_folder(Path(path).parent)


def mend(path: Path) -> str:
    """Cuts off a last line that a process which was killed has left half-written; gives a sentence about it, or "".

    A whole record that lacks only its line end gets one.
    """
    with open(path, "r+b") as file, locked(file.fileno()):
        content = file.read()
        if not content or content.endswith(b"\n"):
            return ""
        start = content.rfind(b"\n") + 1
        last = content[start:]
        found = chain.parsed(last)
        if found is not None and chain.has_chain(found) and chain.digest(found) == found["chain"]["sha256"]:
            add_line(file.fileno(), b"\n", path)
            return f"{path}: its last record lacked the line end, and has it now."
        os.ftruncate(file.fileno(), start)
        os.fsync(file.fileno())
    return f"{path}: a half-written last line of {len(last)} bytes was cut off; its case is run again."


def write_whole(path: Path, records: Iterable[dict[str, Any]]) -> int:
    """A new file with these records, chained; gives their number. Written beside it and renamed: whole, or not there.

    Raises DiskError, and ConfigError where AISP_SIGNING_KEY_FILE names no key.
    """
    key, end, number = chain.signing_key(), chain.End(None, 0, False), 0
    beside = path.with_name(path.name + ".new")
    try:
        with open(beside, "wb") as file:
            for number, record in enumerate(records, start=1):  # noqa: B007  it is what is returned
                made = chain.bound(record, end, key)
                end = chain.End(made, end.index + 1, False)
                file.write(encoded(made) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise DiskError(f"{path}: it could not be written: {error.strerror}. Nothing was left there.") from error
    return number


def encoded(record: dict[str, Any]) -> bytes:
    """A record as the bytes of its line, without the line end."""
    return json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def sync_folder(folder: Path) -> None:
    """Has the names of new files on the disk, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Waits until no other process writes the file. A file system without locks is written without one."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """While the block runs, no other run writes to this folder. Ends with the process, however that ends.

    Raises ConfigError where one does, and DiskError where the folder cannot be written.
    """
    try:
        descriptor = os.open(run_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DiskError(f"{run_dir}: the folder cannot be written: {error.strerror}. Make room, or name another.") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{run_dir}: another run is writing there. Wait for its end, or name another folder.") from None
        except OSError:  # a file system without locks
            os.lseek(descriptor, 0, os.SEEK_SET)
        yield
    finally:
        os.close(descriptor)
