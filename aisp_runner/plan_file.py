"""plan.json: a plan with the digest of its content, and which shard of it is meant. Read without Hydra and OmegaConf, which a
GPU node may lack.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aisp_runner.case import FORMAT, Case, Plan, from_json, to_json
from aisp_runner.errors import ConfigError, DiskError


@dataclass(frozen=True)
class Shard:
    """Which part of a plan one machine runs: every `of`-th case, from the `number`-th on. The plan stays whole, and so does its
    digest.
    """

    number: int = 1
    """From 1 to `of`."""
    of: int = 1

    def cases(self, plan: Plan) -> tuple[Case, ...]:
        """The cases of this shard, in the plan's order."""
        return plan.cases[self.number - 1 :: self.of]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard()


def save_plan(plan: Plan, path: Path, shard: Shard = WHOLE) -> None:
    """Write {"sha256": ..., "plan": {...}}, and {"shard": ...} for a part of it; the folder is made if it is missing.

    The file is there whole or as it was before. Raises DiskError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"sha256": plan.sha256(), "plan": to_json(plan)}
    if shard != WHOLE:
        content = {"shard": asdict(shard)} | content
    _write(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise DiskError(f"{path}: it could not be written: {error.strerror}. Make room, or name another folder.") from error


def load_shard(path: Path) -> Shard:
    """Which shard a file that `load_plan` accepts is of; the whole one where it names none. Raises ConfigError."""
    said = json.loads(path.read_bytes()).get("shard")
    if said is None:
        return WHOLE
    shard: Shard = from_json(Shard, said, f"{path.name}: shard")
    if not 1 <= shard.number <= shard.of:
        raise ConfigError(f"{path}: shard {shard} is none: 1 <= number <= of. Split the plan again: aisp plan split N PLAN.")
    return shard


def load_replaced(path: Path) -> dict[int, dict[str, str]]:
    """What the new records of a file that `load_plan` accepts take the place of, by the case's place in the plan (from 0).

    An engine writes it beside the shard where a run goes on. Raises ConfigError.
    """
    said = json.loads(path.read_bytes()).get("replaces", {})
    sound = isinstance(said, dict) and all(
        place.isdigit() and isinstance(old, dict) and old.keys() == {"sha256", "why"} for place, old in said.items()
    )
    if not sound or not all(isinstance(text, str) for old in said.values() for text in old.values()):
        raise ConfigError(f"{path}: 'replaces' must map places of cases to sha256 and why. Make the task again.")
    return {int(place): old for place, old in said.items()}


def set_aside(path: Path) -> Path:
    """Keeps a copy of a plan.json, which `load_plan` accepts and another is to take the place of, as plan-<digest>.json beside
    it; gives its path.
    """
    content = path.read_bytes()
    kept = path.with_name(f"plan-{json.loads(content)['sha256'][:12]}.json")
    if not kept.exists():
        _write(kept, content)
    return kept


def earlier_plans(run_dir: Path) -> list[Path]:
    """The plans that were set aside in a run's folder."""
    return sorted(run_dir.glob("plan-????????????.json"))


def load_plan(path: Path, check: bool = True) -> Plan:
    """The plan in a file.

    check: refuse a plan whose content does not match its digest. Raises ConfigError for that, for another format version, and
    for what is not a plan.
    """
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}. Make one with aisp-run mode=plan.") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}. Make the plan again with aisp-run mode=plan.") from None
    if not isinstance(data, dict) or not isinstance(data.get("plan"), dict) or not isinstance(data.get("sha256"), str):
        raise ConfigError(f"{path}: not a plan: it must hold 'sha256' and 'plan'. Make one with aisp-run mode=plan.")
    version = data["plan"].get("format")
    if version != FORMAT:
        raise ConfigError(f"{path}: it has format {version!r}; this version reads format {FORMAT}. Make the plan again.")
    if check:
        actual = hashlib.sha256(json.dumps(data["plan"], sort_keys=True).encode()).hexdigest()
        if actual != data["sha256"]:
            raise ConfigError(
                f"{path}: its content does not match its sha256 ({actual[:12]} instead of {data['sha256'][:12]}): "
                "it was changed after it was made. Make the plan again."
            )
    plan: Plan = from_json(Plan, data["plan"], f"{path.name}: plan")
    return plan
