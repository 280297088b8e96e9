"""Linux calls that Python's standard library lacks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

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


def leave(code: int) -> NoReturn:
    """Ends this process at once, with what it has printed: taking torch and a CUDA context down takes a third of a second, and
    exit handlers are not run. All processes and files must be closed by now.
    """
    with contextlib.suppress(OSError, ValueError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


JUDGE_NICE = -20
"""The most urgent there is: a neighbour's thread that spins is set aside as soon as the judge wakes."""


@contextlib.contextmanager
def urgent() -> Iterator[bool]:
    """Gives this thread the scheduler's preference while the block runs, where it may; gives whether it has it.

    A judge that waits for a core reads the clock milliseconds late. Without the right (CAP_SYS_NICE) it goes on as it is.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, JUDGE_NICE)
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES, _TRIM_BYTES = 32 << 20, (1 << 31) - 1
"""The most that glibc takes: a larger block is mapped and unmapped each time."""


def keep_freed_memory() -> None:
    """glibc's malloc keeps what is freed, in this process and in those forked from it, instead of giving it back and faulting
    the pages in again.

    When it gives memory back depends on what a process has freed before: the same 2 MB temporaries took a function from 670
    to 2,000 us a call in some processes and not in others (docs/decisions/0013). Another C library is left as it is.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def cpu_ns(pid: int) -> int:
    """CPU time that all threads of process `pid` have used, ns. Raises ProcessLookupError when it has ended.

    What a thread that runs has used since the kernel's last tick, up to 4 ms, is not in it yet (see `settled_cpu_ns`).
    Source: clock_getcpuclockid(3): a process's CPU clock is ~pid << 3 | 2.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError as gone:
        raise ProcessLookupError(f"process {pid} has ended") from gone


def cpu_ns_or_none(pid: int) -> int | None:
    """The same; None for a process that has ended, whose channel tells how."""
    try:
        return cpu_ns(pid)
    except ProcessLookupError:
        return None


def cpu_ns_of(pids: Iterable[int]) -> int | None:
    """Of several processes together; None where one of them has ended."""
    used = [cpu_ns_or_none(pid) for pid in pids]
    return None if None in used else sum(ns for ns in used if ns is not None)


def thread_cpu_ns(pid: int) -> dict[int, int]:
    """CPU time of each thread by its number, ns; exact for one that is stopped. Empty for a process that has ended.

    Source: proc_pid_schedstat(5), "time spent on the cpu (in nanoseconds)" of /proc/PID/task/TID/schedstat.
    """
    used: dict[int, int] = {}
    try:
        threads = _threads(pid)
    except ProcessLookupError:
        return used
    for thread in threads:
        try:
            file = os.open(f"/proc/{pid}/task/{thread}/schedstat", os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            used[thread] = int(os.read(file, 128).split()[0])
        except ProcessLookupError:
            continue
        finally:
            os.close(file)
    return used


def settled_cpu_ns(pids: Iterable[int]) -> int | None:
    """The same, exact: read while the processes are stopped, which takes some ten microseconds, and then they go on."""
    stopped = list(pids)
    for pid in stopped:
        freeze(pid)
    used = cpu_ns_of(stopped)
    for pid in stopped:
        thaw(pid)
    return used


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
    """The one-letter state of a process in /proc/PID/stat: R running, S sleeping, T stopped, Z ended; X when it is gone.

    `freeze` asks until the answer changes, so this takes 8 us, where a Path took 21.
    """
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except FileNotFoundError:
        return "X"
    try:
        return os.read(file, 512).rpartition(b") ")[2][:1].decode()
    except ProcessLookupError:
        return "X"
    finally:
        os.close(file)


def pin(pid: int, cores: set[int]) -> None:
    """Keeps every thread of a process on these cores, and what it starts from then on. Threads that end meanwhile are left out.

    Raises ProcessLookupError when the process has ended, and OSError when it may use none of the cores.
    """
    pinned: set[int] = set()
    while threads := _threads(pid) - pinned:  # a thread that was started meanwhile may have inherited the old cores
        for thread in threads:
            try:
                os.sched_setaffinity(thread, cores)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise OSError(error.errno, f"pin({pid}, {sorted(cores)}): {error.strerror}") from None
        pinned |= threads


def _threads(pid: int) -> set[int]:
    try:
        return {int(name) for name in os.listdir(f"/proc/{pid}/task")}
    except FileNotFoundError:
        raise ProcessLookupError(f"process {pid} has ended") from None


def spare_cores(threads: int, root: Path = Path("/")) -> tuple[set[int], set[int]]:
    """(cores of the judge, cores of a worker of so many threads), of those that this process may use: ask before pinning it.

    With at least threads + 1 of them the worker gets `threads` that nobody else of this run uses: one of each physical core
    before a second of any, and core 0 last, since interrupts go there by default. The judge gets the others, but not the
    siblings of the worker's as long as there are more. With fewer cores both get all of them.
    """
    usable = os.sched_getaffinity(0)
    if threads < 1 or len(usable) < threads + 1:
        return set(usable), set(usable)
    siblings = {core: _siblings(core, root) & usable for core in usable}
    rank = {core: sorted(siblings[core], key=lambda sibling: (sibling == 0, sibling)).index(core) for core in usable}
    order = sorted(usable, key=lambda core: (core == 0, rank[core], 0 in siblings[core], core))
    worker = set(order[:threads])
    rest = usable - worker
    apart = {core for core in rest if not siblings[core] & worker}
    return apart or rest, worker


def _siblings(core: int, root: Path) -> set[int]:
    """The hardware threads of this core's physical core, itself among them; itself alone where /sys does not tell."""
    try:
        text = (root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    found = {core}
    for part in text.strip().split(","):  # "0,64" or "0-1"
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
