"""What the kernel says of a process of the run and of its limits: scheduling, memory policy, libraries, children.

Read by the judge from outside; nothing here believes a worker. /proc and /sys are looked for below machine.ROOT.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import machine
from aisp_runner.system import cpu_ns_or_none, spare_cores

POLICIES = {0: "SCHED_OTHER", 1: "SCHED_FIFO", 2: "SCHED_RR", 3: "SCHED_BATCH", 5: "SCHED_IDLE", 6: "SCHED_DEADLINE"}

_LIBRARY = re.compile(r"[^/]+\.so(\.[0-9.]+)?$")
_DELETED = " (deleted)"


# Scheduling


@dataclass(frozen=True)
class Placement:
    """How the scheduler treats one thread."""

    nice: int
    policy: str
    cores: frozenset[int]


def placements(pid: int) -> list[Placement]:
    """One for each thread of a process; those that end meanwhile are left out. Four system calls a thread."""
    found = []
    for thread in _threads(pid):
        try:
            number = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
            policy = POLICIES.get(number, f"policy {number}")
            cores = frozenset(os.sched_getaffinity(thread))
            found.append(Placement(os.getpriority(os.PRIO_PROCESS, thread), policy, cores))
        except ProcessLookupError:
            continue
    return found


def given_placement(judge: Any) -> Placement:
    """What the judge gives every worker of its case: the fork server's own, on a CPU with the cores that are set apart."""
    server = placements(judge.cast.server.process.pid)[0]
    cores = frozenset(spare_cores(judge.case.threads * judge.case.ranks)[1]) if judge.device.name == "cpu" else server.cores
    return Placement(server.nice, server.policy, cores)


# Memory


@dataclass(frozen=True)
class Pages:
    """Where a process's memory comes from."""

    policies: frozenset[str]
    """Of its mappings, as /proc/PID/numa_maps has them: "default", "bind:0", "interleave:0-1"."""
    anonymous: dict[int, int]
    """Pages of its own, by NUMA node."""


def pages(pid: int) -> Pages | None:
    """None where the kernel knows no NUMA policy, or does not tell."""
    text = _text(f"{pid}/numa_maps")
    if not text:
        return None
    policies, anonymous = set[str](), dict[int, int]()
    for line in text.splitlines():
        _, policy, *rest = line.split()
        policies.add(policy)
        for word in rest if any(part.startswith("anon=") for part in rest) else ():
            node, equals, count = word.partition("=")
            if equals and node[0] == "N" and node[1:].isdigit():
                anonymous[int(node[1:])] = anonymous.get(int(node[1:]), 0) + int(count)
    return Pages(frozenset(policies), anonymous)


def promised_bytes(pid: int) -> int | None:
    """Private writable memory that the kernel has promised a process, touched or not (VmData)."""
    found = re.search(r"^VmData:\s+(\d+) kB", _text(f"{pid}/status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def memory_available() -> tuple[int, int] | None:
    """(bytes that can still be had without swapping, bytes there are)."""
    text = _text("meminfo")
    told = [re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("MemAvailable", "MemTotal")]
    return (int(told[0][1]) * 1024, int(told[1][1]) * 1024) if told[0] and told[1] else None


def oom_kills() -> int | None:
    """How many processes the kernel has killed so far because there was no memory; None where it does not tell."""
    found = re.search(r"^oom_kill (\d+)", _text("vmstat"), re.MULTILINE)
    return int(found[1]) if found else None


# Libraries and devices


def libraries(pid: int) -> dict[str, set[str]]:
    """The files of the shared libraries that a process has mapped, by name without folder: {"libm.so.6": {"/lib/libm.so.6"}}.

    A file that was replaced or removed since has " (deleted)" after its path.
    """
    found: dict[str, set[str]] = {}
    for line in _text(f"{pid}/maps").splitlines():
        words = line.split(maxsplit=5)
        path = words[5] if len(words) == 6 else ""
        name = path.removesuffix(_DELETED).removeprefix("/memfd:").rpartition("/")[2]
        if _LIBRARY.fullmatch(name):
            found.setdefault(name, set()).add(path)
    return found


def gpu_files(pid: int) -> set[str]:
    """The GPUs whose device files a process has open: {"/dev/nvidia0"}."""
    folder = machine.ROOT / "proc" / str(pid) / "fd"
    found = set()
    for name in _listed(folder):
        try:
            path = os.readlink(folder / name)
        except OSError:  # closed meanwhile
            continue
        if re.fullmatch(r"/dev/nvidia\d+", path):
            found.add(path)
    return found


# Control groups


def group(pid: int) -> str:
    """The control groups that a process is in, as the kernel lists them; "" where it does not tell."""
    return _text(f"{pid}/cgroup").strip()


def throttled_ms(root: Path) -> float | None:
    """How long the CPU quota of this process's control group has kept it from running so far, ms; None without a quota."""
    places = []
    for line in _file(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            places += [root / "sys/fs/cgroup" / path.strip("/"), root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            places += [root / "sys/fs/cgroup" / controllers / path.strip("/"), root / "sys/fs/cgroup/cpu" / path.strip("/")]
    for place in places:
        counted = dict(line.split() for line in _file(place / "cpu.stat").splitlines() if len(line.split()) == 2)
        if "throttled_usec" in counted:
            return int(counted["throttled_usec"]) / 1e3
        if "throttled_time" in counted:
            return int(counted["throttled_time"]) / 1e6
    return None


def governors(cores: Iterable[int], root: Path) -> tuple[str, ...] | None:
    """The different frequency governors of these cores, sorted; None where there is none."""
    told = {_file(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").strip() for core in cores}
    return tuple(sorted(told - {""})) or None


# Children


@dataclass
class LeftRunning:
    """Processes that a candidate's worker has started, between two of its batches. Times in ns."""

    since_ns: int = 0
    """When they were looked at last; 0 where the next look counts from nothing."""
    used_ns: dict[int, int] = field(default_factory=dict)
    """CPU time by process id, as it was then."""
    stray_ns: int = 0
    """CPU time used from a batch of the candidate's to its next one, so far."""
    gaps_ns: int = 0
    """How long that was."""


def children(pid: int) -> set[int]:
    """The processes whose parent a process is."""
    return {int(word) for thread in _threads(pid) for word in _text(f"{pid}/task/{thread}/children").split()}


def descendants(pid: int) -> set[int]:
    """Processes that a process has started and theirs, in whatever session, as far as their parents live."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = children(todo.pop()) - found
        found |= new
        todo += new
    return found


def used_ns(pid: int) -> int:
    """CPU time of a process and, in ticks of 10 ms, of the children it has waited for, ns; 0 once it has ended."""
    own = cpu_ns_or_none(pid)
    if own is None:
        return 0
    words = _text(f"{pid}/stat").rpartition(")")[2].split()
    ticks = sum(int(word) for word in words[13:15])
    return own + ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _threads(pid: int) -> list[int]:
    return sorted(int(name) for name in _listed(machine.ROOT / "proc" / str(pid) / "task"))


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        return []


def _text(name: str) -> str:
    return _file(machine.ROOT / "proc" / name)


def _file(path: Path) -> str:
    """The file's text, or "" where it cannot be read: what cannot be read is not known."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
