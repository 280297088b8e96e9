"""Linux calls that Python's standard library lacks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {value}): {os.strerror(error)}")


def die_with_parent() -> None:
    """This process is killed when the process that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_orphans() -> None:
    """Processes whose parent ends become this process's children, so that it can end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Nothing this process starts can gain rights it lacks (set-user-id programs)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def refuse_inspection() -> None:
    """Other processes of the same user may not attach to this one or read its memory. Root still may."""
    _prctl(_PR_SET_DUMPABLE, 0)


def cpu_ns(pid: int) -> int:
    """CPU time that all threads of process `pid` have used, ns. Raises ProcessLookupError when it has ended.

    Source: clock_getcpuclockid(3): a process's CPU clock is ~pid << 3 | 2.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError as gone:
        raise ProcessLookupError(f"process {pid} has ended") from gone


FREEZE_SECONDS = 0.05
"""How long `freeze` waits for a process to stop. It takes microseconds, unless the process is in a call of the kernel's."""


def freeze(pid: int) -> None:
    """Stops every thread of the process and of those in its session; returns once the process itself has stopped.

    One that has ended is left alone: its channel tells how.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGSTOP)
        end = time.perf_counter() + FREEZE_SECONDS
        while _state(pid) not in "TtZX" and time.perf_counter() < end:
            pass


def thaw(pid: int) -> None:
    """Lets a frozen process go on."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    """The one-letter state of a process in /proc/PID/stat: R running, S sleeping, T stopped, Z ended; X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
