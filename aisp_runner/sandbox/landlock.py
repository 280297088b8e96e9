"""Landlock: below which folders this process may write, and which processes and ports it cannot reach.

It holds for the calling thread and for what it starts from then on, so it must be asked for while there is one thread.
Reading is not restricted. A confined process can also neither trace nor read a process outside its own domain.
Source: Documentation/userspace-api/landlock.rst of Linux 6.15.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator, Sequence

from aisp_runner.sandbox.numbers import call

ABI_NEEDED = {
    "landlock.files": 2,
    "landlock.truncate": 3,
    "landlock.tcp": 4,
    "landlock.ioctl": 5,
    "landlock.signals": 6,
    "landlock.abstract_sockets": 6,
}
"""The parts, and the version of Landlock that brought each. Version 1 refuses every rename between folders, which the caches
of Triton and Inductor need."""

LINUX_OF_ABI = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12"}

_WRITE_FILE, _TRUNCATE, _IOCTL_DEVICE = 1 << 1, 1 << 14, 1 << 15
_MAKE_DEVICES = 1 << 6 | 1 << 11
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 14))
"""Remove and make entries of every kind, and move them between folders."""
_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1
_RULE_PATH_BENEATH = 1
_ASK_VERSION = 1

DEVICES = (os.devnull,)
"""What may be written besides the folders: compilers and shells throw output away there."""


def version() -> tuple[int, str]:
    """(Landlock's version here, ""), or (0, why there is none)."""
    try:
        return call("landlock_create_ruleset", None, 0, _ASK_VERSION), ""
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return 0, "this kernel has no Landlock (Linux 5.13 has, where it is built in)"
        if error.errno == errno.EOPNOTSUPP:
            return 0, "Landlock is switched off at boot (add landlock to lsm=)"
        return 0, f"Landlock cannot be asked for: {error.strerror}"
    except KeyError as machine:
        return 0, f"system call numbers of {machine} are not known"


def missing(abi: int) -> dict[str, str]:
    """The parts that version `abi` of Landlock lacks, and why."""
    return {
        part: f"needs Landlock ABI {needed} (Linux {LINUX_OF_ABI[needed]}); this kernel has {abi}"
        for part, needed in ABI_NEEDED.items()
        if abi < needed
    }


def restrict(writable: Sequence[str], abi: int, network: bool = False, devices: Sequence[str] = ()) -> None:
    """Confines this thread to what version `abi`, at least 2, can do. network: whether TCP is left free. devices: device files
    that it goes on using; where there are any it may also write below its own /proc entry, as CUDA does to name its threads.
    Raises OSError; nothing is confined then.
    """
    rights = _WRITE_FILE | _CHANGE_FOLDERS
    rights |= (_TRUNCATE if abi >= 3 else 0) | (_IOCTL_DEVICE if abi >= 5 else 0)
    fields = (rights, _TCP if abi >= 4 and not network else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    with _closing(call("landlock_create_ruleset", struct.pack("=QQQ", *fields), size, 0)) as ruleset:
        for folder in writable:
            _allow(ruleset, folder, rights & ~_MAKE_DEVICES & ~_IOCTL_DEVICE)
        for device in DEVICES:
            _allow(ruleset, device, rights & (_WRITE_FILE | _TRUNCATE))
        for device in devices:
            _allow(ruleset, device, rights & (_WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE))
        if devices:
            _allow(ruleset, "/proc/self", rights & (_WRITE_FILE | _TRUNCATE))
        call("landlock_restrict_self", ruleset, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    with _closing(os.open(path, os.O_PATH | os.O_CLOEXEC)) as beneath:
        call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
