"""The key of a case: what must be the same for a record to still stand when a run goes on, and for records to be merged.

It is made of the case, its sources, the runner's code, the device's model and its driver. A record keeps the key's parts, so
that a change can be named.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from aisp_runner import __version__, machine
from aisp_runner.case import Case
from aisp_runner.lanes.gpus import visible

PARTS = {"case": "the case", "sources": "the sources", "runner": "the runner", "device": "the device", "driver": "the driver"}
"""What each part is called in messages."""

ANYWHERE = ("case", "sources", "runner")
"""The parts that do not say where a case was measured."""

NO_KEY = "it has no key: an older version wrote it"


@dataclass(frozen=True)
class Key:
    """The parts. Two keys are equal when all of them are."""

    case: str
    """SHA-256 of everything in the case, hexadecimal."""
    sources: str
    """SHA-256 over the digests of all files that the variants consist of, hexadecimal."""
    runner: str
    """Version and the first digits of the digest of all Python files of this package: 0.1.0+9f86d081884c."""
    device: str | None
    """Model of the GPU, or of the CPU for a case on it. Several different GPUs are named one after the other."""
    driver: str | None
    """Version of the GPU's driver; None on a CPU."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the parts as sorted JSON, hexadecimal."""
        return digest(asdict(self))

    def to_json(self) -> dict[str, Any]:
        """As a record has it."""
        return asdict(self) | {"sha256": self.sha256}


class Keys:
    """Makes keys for cases on this machine. The devices are asked once."""

    def __init__(self, package_digest: str) -> None:
        self.runner = f"{__version__}+{package_digest[:12]}"
        self._devices: dict[tuple[str, int, str], tuple[str | None, str | None]] = {}

    def of(self, case: Case, case_sha256: str = "") -> Key:
        """The key of a case. case_sha256: its digest, where that is known already."""
        asked = case.device, case.ranks, case.gpu
        if asked not in self._devices:
            self._devices[asked] = _device(*asked)
        return Key(case_sha256 or case.sha256(), sources_digest(case), self.runner, *self._devices[asked])


def work(parts: dict[str, Any]) -> tuple[Any, ...]:
    """The parts of a key, as a record has them, that are the same wherever a case is measured."""
    return tuple(parts.get(name) for name in ANYWHERE)


def digest(parts: dict[str, Any]) -> str:
    """SHA-256 of the parts of a key, as a record has them, hexadecimal."""
    kept = {name: parts.get(name) for name in PARTS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def sources_digest(case: Case) -> str:
    """SHA-256 over the digests of the files of reference, baseline and candidate, hexadecimal."""
    files = [[v.source.path, v.source.sha256] for v in (case.reference, case.baseline, case.optimized)]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def changed(old: dict[str, Any] | None, new: dict[str, Any]) -> str:
    """What differs between two keys as records have them: "the driver: 570.1 before, 580.2 now". "" where they are equal."""
    if old is None:
        return NO_KEY
    different = [name for name in PARTS if old.get(name) != new.get(name)]
    if "sources" in different and "case" in different:
        different.remove("case")  # a case holds the digests of its sources
    return "; ".join(f"{PARTS[name]}: {_short(name, old)} before, {_short(name, new)} now" for name in different)


def _short(name: str, parts: dict[str, Any]) -> str:
    value = str(parts.get(name) or "none")
    return value[:12] if name in ("case", "sources") else value


def _device(name: str, ranks: int, uuid: str) -> tuple[str | None, str | None]:
    if name == "cpu":
        return machine.cpu_facts()["cpu"], None
    if uuid:
        return next(((gpu.model, gpu.driver) for gpu in visible()[0] if gpu.uuid == uuid), (None, None))
    gpus = machine.gpus()[0][: max(1, ranks)]
    models = dict.fromkeys(str(gpu["name"]) for gpu in gpus)
    return ", ".join(models) or None, gpus[0]["driver"] if gpus else None
