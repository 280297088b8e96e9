"""A lock on a GPU that holds against other runs of any user: `flock` on a file that is named by the GPU's UUID.

The kernel gives it back when its process ends, however that ends; it is never broken. Blind spots: programs that do not ask
for it, and containers that do not share the folder (AISP_LOCK_DIR names one that they share).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aisp_runner.errors import ConfigError, DeviceError

FOLDER = "AISP_LOCK_DIR"
"""Environment variable that names another folder for the files."""

SHARED = (Path("/run/lock"), Path("/var/lock"), Path("/tmp"))
"""Folders that every user may write to, the first that is one is taken."""

POLL_SECONDS = 0.2

_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def folder() -> Path:
    """Where the files are: the same for all users where the machine has a folder that all may write to. Raises ConfigError."""
    named = os.environ.get(FOLDER)
    if named:
        if not Path(named).is_dir():
            raise ConfigError(f"{FOLDER}: there is no folder {named}. Make it, or unset {FOLDER}.")
        return Path(named)
    own = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return next((path for path in SHARED if _for_all(path)), Path(own))


@contextlib.contextmanager
def held(
    uuids: Sequence[str], wait_seconds: float, waiting: Callable[[str], None], place: Path | None = None
) -> Iterator[list[Path]]:
    """The locks on these GPUs while the block runs; gives their files. None is needed for no GPU.

    waiting: told once for each that another run holds. place: the folder, by default `folder()`. Raises DeviceError where one
    is held after `wait_seconds` (s), and where its file cannot be opened or is not a plain one.
    """
    until = time.monotonic() + wait_seconds
    with contextlib.ExitStack() as stack:
        paths = []
        for uuid in sorted(set(uuids)):  # in one order, so that two runs never wait for each other
            path = (place or folder()) / f"aisp-gpu-{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock"
            descriptor = _opened(path)
            stack.callback(os.close, descriptor)
            _wait(descriptor, path, uuid, until, wait_seconds, waiting)
            _sign(descriptor)
            stack.callback(_unsign, descriptor)
            paths.append(path)
        yield paths


def _for_all(path: Path) -> bool:
    """Whether everybody may make files there and nobody may remove another's: asked of the folder, so all users agree."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & 0o1002 == 0o1002


def _opened(path: Path) -> int:
    """The file, made where it is missing. Without O_CREAT where it exists: the kernel refuses that for another user's file in
    such a folder (fs.protected_regular).
    """
    for _ in range(10):
        try:
            descriptor = _existing(path)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o666)
                os.fchmod(descriptor, 0o666)  # whatever the umask: other users' runs open it too
            except FileExistsError:
                continue
            except OSError as error:
                raise DeviceError(_unusable(path, error.strerror)) from None
        except OSError as error:
            link = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise DeviceError(_unusable(path, link)) from None
        told = os.fstat(descriptor)
        if stat.S_ISREG(told.st_mode) and told.st_nlink == 1:
            return descriptor
        os.close(descriptor)
        if told.st_nlink:  # one that was removed meanwhile has none
            raise DeviceError(_unusable(path, "it is no plain file of one name"))
    raise DeviceError(_unusable(path, "it is made and removed again and again"))


def _existing(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | _OPEN)
    except PermissionError:
        return os.open(path, os.O_RDONLY | _OPEN)  # a lock needs no right to write


def _unusable(path: Path, why: str | None) -> str:
    return f"{path}: the lock on a GPU cannot be taken: {why}. Remove the file, or name another folder with {FOLDER}."


def _wait(descriptor: int, path: Path, uuid: str, until: float, wait_seconds: float, waiting: Callable[[str], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            who = f"{uuid} is in use by another run ({holder(descriptor)}, lock {path})"
        except OSError as error:
            raise DeviceError(_unusable(path, error.strerror)) from None
        if time.monotonic() >= until:
            raise DeviceError(
                f"{who}, and was after {wait_seconds:g} s. Wait for its end, use another GPU (gpus=[N]), or wait longer: "
                "gpus.wait_seconds=SECONDS."
            )
        if not told:
            waiting(f"{who}; waiting for at most {wait_seconds:g} s (gpus.wait_seconds)")
            told = True
        time.sleep(max(0.0, min(POLL_SECONDS, until - time.monotonic())))


def holder(descriptor: int) -> str:
    """Who says to hold it. A hint: anybody may have written it."""
    found = re.match(rb"pid (\d{1,10})\n", os.pread(descriptor, 64, 0))
    return f"process {int(found[1])}, it says" if found else "it does not say which"


def _sign(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # opened for reading alone
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}\n".encode(), 0)


def _unsign(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
