"""Which engine a run asks for: the settings under `engine`, as schemas/config.schema.json has them. Neither Ray nor
submitit is imported.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields
from typing import Any

from aisp_runner.errors import ConfigError
from aisp_runner.lanes.asked import of_settings

NEEDS = {"ray": "ray", "slurm": "submitit"}
"""The package that each engine needs; the extra of this package has the engine's name."""

OWN = {
    "local": (),
    "ray": ("address", "cases_per_task", "cpus_per_task"),
    "slurm": ("folder", "partition", "time_limit_minutes", "array_parallelism", "cases_per_task", "cpus_per_task"),
}
"""Settings of each engine."""


@dataclass(frozen=True)
class Engine:
    """How tasks are cut and where they run."""

    name: str = "local"
    """local, ray or slurm."""
    cases_per_task: int = 1
    cpus_per_task: int | None = None
    """None: the threads of a case's workers, and one for the judge."""
    address: str | None = None
    """Of a Ray cluster; None starts a Ray on this machine."""
    folder: str | None = None
    """One that all nodes of Slurm share; None is RUN_DIR/tasks."""
    partition: str | None = None
    time_limit_minutes: int = 60
    """Of one task."""
    array_parallelism: int = 16
    """Tasks of Slurm that run at once, at most."""


def chosen(settings: dict[str, Any]) -> Engine:
    """The engine of a run's settings. Raises ConfigError for a setting of another one, for lanes,
    and where its package is missing."""
    given = settings.get("engine") or {}
    name = given.get("name", "local")
    odd = [key for key in given if key != "name" and key not in OWN[name]]
    if odd:
        owners = " or ".join(f"engine={other}" for other, keys in OWN.items() if odd[0] in keys)
        raise ConfigError(f"engine.{odd[0]}: engine={name} has no such setting. It goes with {owners}.")
    if name != "local" and not of_settings(settings).plain:
        raise ConfigError(f"engine={name}: gpus and cpus share out this machine. Leave them out; a task has one GPU.")
    needed = NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        raise ConfigError(
            f"engine={name}: the package {needed} is not installed here. pip install 'aisp-run[{name}]', "
            "or split the plan by hand: aisp plan split, aisp merge (docs/engines.md)."
        )
    known = {field.name for field in fields(Engine)}
    return Engine(**{key: value for key, value in given.items() if key in known})
