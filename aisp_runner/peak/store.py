"""The measured ceilings of a machine, as values and as the JSON file that keeps them (schemas/peak.schema.json).

The file is named after what the figures depend on, GPU and driver or CPU and cores, and names no owner, host or serial number.
torch is not imported here.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import case
from aisp_runner.errors import ConfigError

FORMAT = 1
"""Version of the file. One of another version has to be measured again."""


@dataclass(frozen=True)
class Try:
    """One way in which a ceiling was measured."""

    how: str
    value: float | None
    """Median, in the unit of the value it belongs to; None where this way does not work here."""
    spread: float | None
    """Distance of the quartiles over the median, as a fraction."""
    reason: str = ""
    """Why it does not work."""


@dataclass(frozen=True)
class Value:
    """One ceiling: the best of the ways that were tried."""

    unit: str
    """B/s, FLOP/s or s."""
    value: float | None
    """Median over the repeats of the best way, after a rest (burst); None where nothing could be measured."""
    how: str = ""
    spread: float | None = None
    """Distance of the quartiles over the median, as a fraction."""
    repeats: int = 0
    sustained: float | None = None
    """The same way under a load without a rest, median of the second half. Matrix products on a GPU only."""
    reason: str = ""
    """Why it was not measured."""
    tried: tuple[Try, ...] = ()


@dataclass(frozen=True)
class Peak:
    """The ceilings of one device."""

    device: str
    """cpu or cuda."""
    key: str
    """What the figures depend on, as a file name without its ending: nvidia-h200-580.159.04."""
    name: str
    """GPU or CPU, as the driver or /proc/cpuinfo has it."""
    measured: str
    """When, ISO 8601, UTC."""
    seconds: float
    """How long measuring took, s."""
    hardware: dict[str, Any]
    """GPU: driver, capability, memory_bytes, l2_bytes, sm_count, power_limit_w. CPU: cores, cache_bytes, core_cache_bytes."""
    versions: dict[str, str | None]
    """aisp_run, python, torch, triton, cuda."""
    values: dict[str, Value]

    def rate(self, name: str) -> float | None:
        """The value of that name (burst), or None where it was not measured."""
        return self.values[name].value if name in self.values else None


def key(device: str, facts: Mapping[str, Any]) -> str | None:
    """File name, without its ending, for a machine as `machine.facts(device)` describes it; None where it names no device."""
    gpu = facts.get("gpu")
    if device == "cpu":
        cores = facts.get("cores_usable") or facts.get("cores")
        return _slug(f"{facts.get('cpu') or 'unknown cpu'} {cores} cores") if cores else None
    return _slug(f"{gpu['name']} {gpu.get('driver') or 'unknown driver'}") if gpu and gpu.get("name") else None


def folder() -> Path:
    """Where the files are kept: $AISP_PEAK_DIR, or ~/.cache/aisp-run/peak."""
    return Path(os.environ.get("AISP_PEAK_DIR") or Path.home() / ".cache" / "aisp-run" / "peak")


def load(device: str, facts: Mapping[str, Any]) -> Peak | None:
    """The stored ceilings of this machine, or None where it was not measured yet or the file is not of this version; then
    `aisp peak` writes it anew.

    facts: as `machine.facts(device)` gives them.
    """
    name = key(device, facts)
    if name is None or not (path := folder() / f"{name}.json").is_file():
        return None
    try:
        return from_json(json.loads(path.read_text("utf-8")))
    except (ConfigError, OSError, ValueError):
        return None


def save(peak: Peak) -> Path:
    """Writes the file, whole or not at all; its path."""
    path = folder() / f"{peak.key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False) as part:
        part.write(json.dumps(to_json(peak), indent=2) + "\n")
    Path(part.name).replace(path)
    return path


def to_json(peak: Peak) -> dict[str, Any]:
    """As plain JSON values."""
    return {"format": FORMAT, **case.to_json(peak)}


def from_json(value: Any) -> Peak:
    """The inverse of `to_json`. Raises ConfigError for anything that is not of this version."""
    try:
        fields = dict(value)
        if fields.pop("format") != FORMAT:
            raise ValueError(f"its format is {value['format']!r}")
        values = {name: _value(inner) for name, inner in fields.pop("values").items()}
        return Peak(**fields, values=values)
    except (ValueError, TypeError, KeyError) as wrong:
        text = f"{type(wrong).__name__}: {wrong}"
        raise ConfigError(f"these are no ceilings of format {FORMAT} ({text}). Measure again: aisp peak") from wrong


def _value(value: dict[str, Any]) -> Value:
    for number in (value["value"], value["sustained"], value["spread"]):
        if number is not None and not isinstance(number, int | float):
            raise TypeError(f"{number!r} is no number")
    return Value(**{**value, "tried": tuple(Try(**inner) for inner in value["tried"])})


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
