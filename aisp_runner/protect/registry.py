"""Which protections there are and which a run uses: a scan of this folder, in the order of their ids."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.protect.base import ERROR, JUDGE_STAGES, UNAVAILABLE, WORKER_STAGES, Evidence, Protection

MODES = ("strict", "off")

UNPROTECTED = ("output.tolerance_bound",)
"""What mode off leaves on: any harness compares outputs with a reference."""


@cache
def known() -> dict[str, type[Protection]]:
    """Every protection, by id."""
    found: dict[str, type[Protection]] = {}
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], "aisp_runner.protect."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Protection) and value is not Protection:
                found[value.id] = value
    return dict(sorted(found.items()))


def select(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The protections that a `protect` config asks for, by id, each with all its knobs.

    config: {mode: strict | off, disable: [id, ...], knobs: {id: {knob: value}}}. Mode off is for showing what an unprotected
    harness would say: its records are marked, and it cannot gate. Raises ConfigError for an unknown id or knob, and for
    disabling an essential protection.
    """
    mode, everything = config.get("mode", "strict"), known()
    if mode not in MODES:
        raise ConfigError(f"protect.mode: '{mode}' is not a mode.{did_you_mean(str(mode), MODES)} Modes: {', '.join(MODES)}.")
    disabled, knobs = list(config.get("disable") or ()), dict(_by_id(config.get("knobs") or {}))
    for name in [*disabled, *knobs]:
        if name not in everything:
            raise ConfigError(
                f"protect: '{name}' is not a protection.{did_you_mean(name, everything)} Protections: {', '.join(everything)}."
            )
    for name in disabled:
        if everything[name].essential:
            raise ConfigError(
                f"protect.disable: {name} cannot be left out: without it a result means nothing. "
                "Use protect=off to see what an unprotected run would say."
            )
    chosen = list(UNPROTECTED) if mode == "off" else [name for name in everything if name not in disabled]
    return {name: dataclasses.asdict(make(name, knobs.get(name, {}))) for name in chosen}


def make(name: str, knobs: dict[str, Any]) -> Protection:
    """The protection `name` with these knobs. Raises ConfigError for a knob it does not have."""
    kind = known()[name]
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for knob, value in knobs.items():
        if knob not in fields:
            raise ConfigError(
                f"protect.knobs.{name}.{knob}: unknown knob.{did_you_mean(knob, fields)} Knobs: {', '.join(fields) or 'none'}."
            )
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(f"protect.knobs.{name}.{knob}: {value!r} is not a number.")
    return kind(**knobs)


def _by_id(knobs: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """{"memory": {"late_writes": {...}}} as well as {"memory.late_writes": {...}}: a dot on the command line nests."""
    for key, value in knobs.items():
        if "." in key:
            yield key, value
        else:
            for name, inner in value.items():
                yield f"{key}.{name}", inner


class Shields:
    """The protections of one case, run stage by stage; keeps their evidence.

    device: those that need another one have nothing to look at, and are silent.
    """

    def __init__(
        self,
        chosen: dict[str, dict[str, Any]],
        stages: tuple[str, ...] = JUDGE_STAGES,
        side: str = "judge",
        device: str = "cpu",
    ) -> None:
        made = [make(name, knobs) for name, knobs in sorted(chosen.items())]
        self.protections = [protection for protection in made if protection.needs in ("any", device)]
        self.side = side
        self.evidence: list[Evidence] = [] if side == "worker" else [_left_out(name) for name in known() if name not in chosen]
        self.hooks = {
            stage: [(p, hook) for p in self.protections if (hook := getattr(p, f"{side}_{stage}", None)) is not None]
            for stage in stages
        }

    def on(self, name: str) -> bool:
        """Whether protection `name` is in use."""
        return any(p.id == name for p in self.protections)

    def run(self, stage: str, *arguments: Any) -> list[Evidence]:
        """Runs the stage's hooks. One that raises leaves evidence of status error: silence is never a pass."""
        found: list[Evidence] = []
        for protection, hook in self.hooks[stage]:
            try:
                given = hook(*arguments)
            except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
                given = Evidence(protection.id, stage, self.side, ERROR, f"{type(error).__name__}: {error}", "no exception")
            if given is not None:
                found += given if isinstance(given, list) else [given]
        self.evidence += found
        return found


def _left_out(name: str) -> Evidence:
    """A protection that is off leaves a trace, and a gate inconclusive."""
    return Evidence(name, "preflight", "judge", UNAVAILABLE, f"{name} is switched off (protect.disable or protect=off)", "")


def worker_shields(chosen: dict[str, dict[str, Any]], device: str = "cpu") -> Shields:
    """The worker's side of the protections of a case."""
    return Shields(chosen, WORKER_STAGES, "worker", device)
