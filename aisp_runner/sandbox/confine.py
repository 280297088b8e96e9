"""Confines the calling process as far as the kernel can, and says what was applied and what was not."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Mapping
from typing import Any

from aisp_runner.sandbox import landlock, seccomp
from aisp_runner.sandbox.policy import Sandbox

FILE_SIZE = "limits.file_size"
CALLS = "seccomp.calls"
SIGNALS = "seccomp.signals"
"""In the place of landlock.signals, where that is missing."""

NETWORK = "seccomp.sockets"
"""A part of seccomp.calls, named where it is left out."""
RANKS = "its ranks communicate over TCP"

PARTS = (FILE_SIZE, *landlock.ABI_NEEDED, CALLS)
"""What a worker that is wholly confined has."""


def facts() -> dict[str, Any]:
    """What this machine offers, as plain JSON: landlock_abi (0: none), machine, and missing: why, for each part that is not."""
    abi, _ = landlock.version()
    return {"landlock_abi": abi, "machine": platform.machine(), "missing": _not_offered()}


def confine(policy: Sandbox, file_bytes: int) -> dict[str, Any]:
    """Confines this process and what it starts; call it in a process of one thread, before code that is not trusted.

    file_bytes: the largest file it may write. Gives the report: mode, applied (names of parts), missing (a reason for each
    of the others), us (what it took, microseconds). Raises nothing for a part that the kernel refuses. Cannot be undone.
    """
    start = time.perf_counter_ns()
    applied: list[str] = []
    why = policy.why_not() or _threads()
    missing = dict.fromkeys(PARTS, why) if why else _not_offered()
    if not why:
        applied.append(_file_size(file_bytes))
        if policy.network:
            missing |= {"landlock.tcp": RANKS, NETWORK: RANKS}
        applied += _files_and_scopes(policy, missing)
        applied += _system_calls(policy, missing)
    took_us = (time.perf_counter_ns() - start) / 1e3
    return {"mode": policy.mode, "applied": applied, "missing": missing, "us": round(took_us, 1)}


def sufficient(report: Mapping[str, Any]) -> bool:
    """Whether a report says that candidate code cannot write outside its folders, nor reach other processes or the network.

    landlock.tcp and landlock.ioctl are second locks: without a socket there is no connection, and no device can be opened
    for writing. landlock.abstract_sockets is one as well.
    """
    applied = set(report["applied"])
    if NETWORK in report["missing"]:
        return False
    return {"landlock.files", "landlock.truncate", CALLS} <= applied and bool({"landlock.signals", SIGNALS} & applied)


def _file_size(limit: int) -> str:
    """Limits each file; a lower limit of the user's stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return FILE_SIZE


def _not_offered() -> dict[str, str]:
    abi, none = landlock.version()
    lost = dict.fromkeys(landlock.ABI_NEEDED, none) if none else landlock.missing(abi)
    no_filter = seccomp.why_not()
    return lost | ({CALLS: no_filter} if no_filter else {})


def _files_and_scopes(policy: Sandbox, missing: dict[str, str]) -> list[str]:
    """Landlock: the parts that were applied; reasons for the others go into `missing`."""
    if "landlock.files" in missing:
        missing.update({part: missing.get(part) or missing["landlock.files"] for part in landlock.ABI_NEEDED})
        return []
    try:
        landlock.restrict(policy.writable, landlock.version()[0], policy.network, policy.devices)
    except OSError as error:
        missing.update(dict.fromkeys(landlock.ABI_NEEDED, f"refused here: {error}"))
        return []
    return [part for part in landlock.ABI_NEEDED if part not in missing]


def _system_calls(policy: Sandbox, missing: dict[str, str]) -> list[str]:
    """seccomp, with signals where Landlock does not confine them."""
    if CALLS in missing:
        return []
    signals = "landlock.signals" in missing
    try:
        seccomp.restrict(signals, policy.network, policy.device != "cpu")
    except OSError as error:
        missing[CALLS] = f"refused here: {error}"
        return []
    return [CALLS, SIGNALS] if signals else [CALLS]


def _threads() -> str:
    """Why this process cannot be confined as a whole, or "": Landlock and seccomp hold for the calling thread."""
    threads = len(os.listdir("/proc/self/task"))
    return "" if threads == 1 else f"the process has {threads} threads, and only the calling one would be confined"
