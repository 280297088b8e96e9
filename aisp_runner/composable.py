"""What a config dir may bring into Hydra's composition: settings and workloads, never what Hydra itself does.

Hydra makes an object of the class that its own settings name (callbacks, launcher, sweeper), sets environment variables and
changes folders. A file of a config dir reaches those by `# @package`, by `hydra:` at the top, or by `defaults:`. And an
interpolation such as ${oc.env:TOKEN} puts what the environment holds into a plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from aisp_runner.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
NAMES = "the name of a config has letters, digits, _, -, + and . only, 100 at most, and no folder. Rename it."

REFERENCE = re.compile(r"\$\{[A-Za-z_][\w.]{0,100}\}")
"""Another setting, such as ${measure.rounds}."""
RESOLVERS = re.compile(r"\$\{(now:[-%\w.:]{1,40}|hydra:job\.(num|id))\}")
"""What a setting on the command line may ask for besides: the time, and a job's number in a sweep."""

PACKAGE = re.compile(r"^\s*#\s*@package\b[ \t]*(\S*)", re.MULTILINE)
MEASURED = "override /measure@_global_.measure"
"""What a suite's `defaults:` may say."""
SELECTORS = ("workload", "chapter", "lab", "suite")


def refuse_composition(value: dict[str, Any], text: str, kind: str, where: str) -> None:
    """A workload, chapter or suite is one file that says everything: what it could pull in would escape a reviewer."""
    if kind == "suite":
        for entry in value.get("defaults") or []:
            if not isinstance(entry, dict) or any(key != MEASURED or not NAME.fullmatch(str(entry[key])) for key in entry):
                raise ConfigError(f"{where}: defaults: a suite's defaults name how it is measured: {MEASURED}: NAME.")
    elif "defaults" in value:
        raise ConfigError(f"{where}: defaults: a {kind} is one file that pulls in no other. Write its keys out.")
    if PACKAGE.search(text):
        raise ConfigError(f"{where}: it has a `# @package` line, which could change a run's settings. Remove the line.")


def refuse_settings(value: dict[str, Any], text: str, where: str) -> None:
    """A file of settings sets settings: not Hydra's, of its own group or, with `# @package _global_`, by their names."""
    package = PACKAGE.search(text)
    if package and package[1] != "_global_":
        raise ConfigError(f"{where}: `# @package {package[1]}`: only _global_ can be said here. Remove the line.")
    for key in (str(key) for key in value):
        if key.split(".")[0] in ("hydra", *(SELECTORS if package else ())):
            raise ConfigError(f"{where}: {key}: a config dir brings no such settings. Give it on the command line.")
    entries = value.get("defaults", [])
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str) or (entry != "_self_" and not NAME.fullmatch(entry)):
            raise ConfigError(f"{where}: defaults: {str(entry)[:60]}: only names of files beside it can be said here.")
    for place, found in texts(value):
        if "${" in REFERENCE.sub("", found):
            raise ConfigError(f"{where}: {place}: {found[:60]!r} asks for what is no setting. Write the value out.")


ROOT_HYDRA = {"output_subdir", "run", "sweep", "job", "help"}
ROOT_JOB = {"chdir"}
ROOT_DEFAULTS = ("override hydra/hydra_logging", "override hydra/job_logging")
"""What the config.yaml of another revision may say of Hydra: folders and help, of which composing uses nothing."""


def refuse_root(value: dict[str, Any], where: str) -> None:
    """The root of a revision that is composed to be reviewed: its settings, and of Hydra only what makes no object."""
    hydra = value.get("hydra") or {}
    extra = (
        sorted((set(hydra) - ROOT_HYDRA) | (set(hydra.get("job") or {}) - ROOT_JOB)) if isinstance(hydra, dict) else ["hydra"]
    )
    if extra:
        raise ConfigError(f"{where}: hydra: {', '.join(map(str, extra))}: a revision that says so is not composed. Remove it.")
    for entry in value.get("defaults") or []:
        pairs = entry.items() if isinstance(entry, dict) else [(entry, "_self_")]
        for key, option in pairs:
            plain = NAME.fullmatch(str(key)) and NAME.fullmatch(str(option))
            if not (plain or (key in ROOT_DEFAULTS and option == "none")):
                raise ConfigError(f"{where}: defaults: {str(key)[:60]}: a revision that says so is not composed. Remove it.")
    marked = next((key for key in _keys(value) if re.fullmatch(r"_\w+_", key)), "")
    if marked:
        raise ConfigError(f"{where}: `{marked}`: no class is named in settings. Remove it.")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (str(key) for key in value)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)


def refuse_interpolations(value: Any, where: str) -> None:
    """Nothing is filled into a workload: what it says is what a reviewer reads."""
    for place, found in texts(value):
        if "${" in found:
            raise ConfigError(f"{where}: {place}: {found[:60]!r}: nothing is filled in here. Write the value out.")


def refuse_resolvers(value: Any) -> None:
    """Settings of a command line: other settings, the time, a job's number. What the environment holds stays out of plans."""
    for place, found in texts(value):
        if "${" in RESOLVERS.sub("", REFERENCE.sub("", found)):
            allowed = "Allowed: ${SETTING}, ${now:FORMAT}, ${hydra:job.num}, ${hydra:job.id}."
            raise ConfigError(f"{place}: {found[:60]!r} asks for what is no setting. {allowed} The shell can fill in others.")


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(dotted place, text) of each text in plain values, keys too."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            where = f"{place}.{key}".removeprefix(".")
            yield from ((where, key),) if isinstance(key, str) and "${" in key else ()
            yield from texts(inner, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts(inner, f"{place}[{index}]")
