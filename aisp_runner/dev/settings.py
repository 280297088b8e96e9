"""The settings of measure/ as the runner's own benchmarks use them, read without composing a config."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

from aisp_runner.case import Measure
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError

SETTINGS = ("quick", "standard", "publication")


def measure(name: str, **changes: Any) -> Measure:
    """conf/measure/NAME.yaml as a Measure. changes: other values for its fields. Raises ConfigError for a name that is none."""
    from aisp_runner.config import load_yaml

    if name not in SETTINGS:
        raise ConfigError(f"--measure {name}: there is no such setting. Settings: {', '.join(SETTINGS)}.")
    folder = content_root() / "conf" / "measure"
    values: dict[str, Any] = {}
    for file in ("standard", name):  # the others are changes of standard
        values |= load_yaml(folder / f"{file}.yaml")
    if values.get("device_clock", "auto") == "auto":  # as a plan does it
        values["device_clock"] = "cupti" if importlib.util.find_spec("cupti") else "off"
    known = {f.name for f in dataclasses.fields(Measure)}
    given = {key: value for key, value in values.items() if key in known}
    return dataclasses.replace(Measure(**given), **changes)
