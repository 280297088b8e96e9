"""plan.json: a plan with the digest of its content. Read without Hydra and OmegaConf, which a GPU node may lack."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from aisp_runner.case import FORMAT, Plan, from_json, to_json
from aisp_runner.errors import ConfigError


def save_plan(plan: Plan, path: Path) -> None:
    """Write {"sha256": ..., "plan": {...}}; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"sha256": plan.sha256(), "plan": to_json(plan)}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


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
