"""How much host memory a case takes at least, and whether the machine has it: told before anything is allocated.

A lower bound: what the tensors of two slots take in every process, in the oracle and in the judge. What variants allocate for
themselves, and further slots of the rings, come on top. Blind spot: memory that others take while the case runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from aisp_runner import machine
from aisp_runner.case import Case, Measure, Tensor

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Bytes an element takes, by dtype."""

SLOTS = 2
"""Slots that the smallest ring has, all of which are used."""


def tensor_bytes(tensor: Tensor, item_bytes: int | None = None) -> int:
    """Bytes of one tensor. item_bytes: of an element, where that is not its dtype's."""
    return math.prod(tensor.shape) * (item_bytes or ITEM_BYTES[tensor.dtype])


def least_bytes(inputs: Sequence[Tensor], outputs: Sequence[Tensor], measure: Measure) -> int:
    """Host memory that a case on a CPU takes at the least, bytes."""
    weights = sum(tensor_bytes(t) for t in inputs if t.role == "weight")
    read = SLOTS * sum(tensor_bytes(t) for t in inputs if t.role != "weight")
    written = SLOTS * sum(tensor_bytes(t) for t in outputs)
    exact = SLOTS * sum(tensor_bytes(t, 8 if "float" in t.dtype else None) for t in outputs)
    arms = 2 + measure.control
    workers = measure.processes * arms * (weights + read + written)
    oracle = weights + read + exact
    judge = weights + read + arms * written  # the content, and a snapshot of each arm's outputs
    return workers + oracle + judge


def too_little(need: int, have: int | None, what: str, who: str) -> str:
    """Why so much memory cannot be had, with the figures, or "". have: None where it is not known."""
    if have is None or need <= have:
        return ""
    return (
        f"{what} takes at least {need / 2**30:.2f} GiB of host memory (oracle, judge and every process of the variants), and "
        f"{who} {have / 2**30:.2f} GiB; fewer sets of processes (measure.processes) take less"
    )


def lacking(case: Case) -> str:
    """Why a case does not fit into the host memory that can be had now, with the figures, or ""."""
    if case.device != "cpu":
        return ""
    return too_little(least_bytes(case.inputs, case.outputs, case.measure), available_bytes(), "it", "there are")


def total_bytes() -> int | None:
    """Host memory that this process may use: the machine's, or what its control group allows. None where that is not told."""
    total = _meminfo("MemTotal")
    limit, _ = _group()
    told = [n for n in (total, limit) if n is not None]
    return min(told) if told else None


def available_bytes() -> int | None:
    """Host memory that can still be had without swapping. None where that is not told."""
    free = _meminfo("MemAvailable")
    limit, used = _group()
    told = [n for n in (free, None if limit is None else max(0, limit - (used or 0))) if n is not None]
    return min(told) if told else None


def _meminfo(name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", _text(machine.ROOT / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _group() -> tuple[int | None, int | None]:
    """(limit, memory in use that cannot be reclaimed) of the control group; None where there is none, or it tells nothing."""
    own = dict.fromkeys(("", "memory"), "/")
    for line in _text(machine.ROOT / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own |= {name: path for name in controllers.split(",") if name in own}
    folder = machine.ROOT / "sys/fs/cgroup"
    for base, name, (most, now, cached) in ((folder, own[""], _V2), (folder / "memory", own["memory"], _V1)):
        for place in (base / name.lstrip("/"), base):
            limit = _text(place / most).strip()
            if limit.isdigit():
                cache = re.search(rf"^{cached} (\d+)", _text(place / "memory.stat"), re.MULTILINE)
                used = _text(place / now).strip()
                return int(limit), max(0, int(used) - int(cache[1] if cache else 0)) if used.isdigit() else None
    return None, None


_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Names of the limit, the use and the cache that can be reclaimed, by the version of control groups."""


def _text(path: Path) -> str:
    """The file's text, or "" where it cannot be read: what cannot be read is not known."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
