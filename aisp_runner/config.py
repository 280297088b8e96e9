"""Configs as plain values: reading YAML files, and what Hydra composes of them. Only this and cli.py know Hydra and
OmegaConf.

A request names workloads (+workload=, +chapter=, +lab=, +suite=) and settings. Hydra composes the settings once, with the
workload merged in when one is named, so that `workload.margin=0.05` works; all workloads are read from their files.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aisp_runner import composable, config_text, schema, yaml_bounds
from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError, did_you_mean

SELECTORS = ("workload", "chapter", "lab", "suite")
"""Config groups that say what to run."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for, before any of it is resolved for a machine."""

    files: tuple[Path, ...]
    """The workloads' YAML files, each once, in the order they were asked for."""
    settings: dict[str, Any]
    """The composed config without the workloads, valid under schemas/config.schema.json."""
    changed: dict[str, Any] | None = None
    """The one workload with the command line's `workload.*` merged in, when there are such overrides."""
    overrides: tuple[str, ...] = ()


@functools.lru_cache(maxsize=1024)
def _loaded(path: Path, text: str) -> dict[str, Any]:
    value = _plain(text, path)
    kind = path.parent.name
    if value and kind in SELECTORS:
        composable.refuse_composition(value, text, kind, shown(path))
    composable.refuse_interpolations(value, shown(path))
    return value


def _plain(text: str, path: Path) -> dict[str, Any]:
    """A file's text as plain values. Raises ConfigError."""
    try:
        value = yaml_bounds.value(text, str(path), kind=_reader())
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{shown(path)}: {first_line(error)}") from None
    except Exception as error:
        if is_yaml_error(error):
            raise ConfigError(yaml_problem(error, path)) from None
        raise
    if value and not isinstance(value, dict):
        raise ConfigError(f"{shown(path)}: it holds {schema.kind(value)}; a mapping of keys to values is wanted.")
    return dict(value or {})


@functools.cache
def _reader() -> Any:
    """OmegaConf's loader, which reads 1e-3 as a number and no dates; what it makes is plain values."""
    from omegaconf._utils import get_yaml_loader

    return get_yaml_loader()


def _group_file(path: Path, folder: Path) -> None:
    """Refuses a file of settings in a config dir that could do more than set them. Raises ConfigError."""
    try:
        text = config_text.read(path, folder)
    except config_text.UnreadableError as error:
        raise ConfigError(f"{shown(path)}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {error.strerror}.") from None
    composable.refuse_settings(_plain(text, path), text, shown(path))


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values, read as OmegaConf reads it (1e-3 is a number).

    Raises ConfigError with the line for what is not YAML, for an interpolation, and for a file that cannot be read.
    """
    try:
        text = config_text.read(path)
    except config_text.UnreadableError as error:
        raise ConfigError(f"{shown(path)}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {error.strerror}.") from None
    return _loaded(path, text)  # by its text: a file may change twice within one tick of its time stamp


def refuse_uncomposable(words: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuses, before Hydra reads it, what a command line names in a config dir and what would do more than set settings.

    Hydra makes an object of whatever class its own settings name, so no file of a config dir may reach them. The chosen
    workloads were read by `normalised`, but for those of a sweep. Raises ConfigError.
    """
    sweep = bool({"-m", "--multirun"} & set(words))
    groups = {re.split(r"[@/=]", word.lstrip("+~"))[0] for word in words if "=" in word}
    groups |= {"measure"} if "suite" in groups else set()
    for folder in folders[1:]:
        if (folder / "hydra").exists():
            raise ConfigError(f"{shown(folder / 'hydra')}: a config dir brings no settings of Hydra. Remove this folder.")
        for group in sorted(groups & {path.name for path in folder.iterdir() if path.is_dir()}):
            files = sorted(path for path in (folder / group).rglob("*.y*ml") if not path.name.startswith("."))
            for path in files if group != "workload" or sweep else []:
                load_yaml(path) if group in SELECTORS else _group_file(path, folder)


def refuse_foreign_root(folder: Path) -> None:
    """Refuses, before Hydra reads it, a conf/ that is not this runner's own and would do more than set settings. Raises
    ConfigError.
    """
    if (folder / "hydra").exists():
        raise ConfigError(f"{shown(folder / 'hydra')}: a revision brings no settings of Hydra. Remove this folder.")
    composable.refuse_root(load_yaml(folder / "config.yaml"), shown(folder / "config.yaml"))
    for path in sorted(path for path in folder.rglob("*.y*ml") if path.parent != folder):
        load_yaml(path) if path.parent.name in SELECTORS else _group_file(path, folder)


def is_yaml_error(error: BaseException) -> bool:
    """Whether PyYAML, with which OmegaConf reads files, raised it."""
    return any(kind.__module__.startswith("yaml.") for kind in type(error).__mro__)


def yaml_problem(error: BaseException, path: Path | None = None) -> str:
    """conf/workload/x.yaml: line 3: found duplicate key a. Made of a YAML error, which knows file and line itself."""
    mark, text = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    file = shown(path) if path else shown(Path(mark.name)) if mark else "YAML"
    line = f" line {mark.line + 1}:" if mark else ""
    hint = " Indent with spaces." if "\\t" in text else ""
    return f"{file}:{line} not YAML: {text}.{hint}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's text."""
    return str(error).strip().split("\n")[0].strip()


def config_folders(config_dirs: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Folders with config groups: the runner's own, then the user's. Raises ConfigError for one that is not there."""
    own = content_root() / "conf"
    folders = [own]
    for given in config_dirs:
        folder = Path(given).absolute()
        if not folder.is_dir():
            near = did_you_mean(folder.name, [p.name for p in folder.parent.glob("*") if p.is_dir()])
            raise ConfigError(f"--config-dir: there is no folder {shown(folder)}.{near}")
        if folder.resolve() != own:
            folders.append(folder)
    return tuple(dict.fromkeys(folders))


def workload_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The workloads' YAML files by name.

    Raises ConfigError when two folders hold a file of the same name in any group: Hydra would silently take one of them.
    """
    seen: dict[Path, Path] = {}
    for folder in folders:
        for file in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]):
            relative = file.relative_to(folder)
            if file.name.startswith("."):
                continue
            if relative.parts[0] in SELECTORS and not composable.NAME.fullmatch(file.stem):
                raise ConfigError(f"{shown(file)}: {composable.NAMES}")
            if relative in seen:
                other = shown(seen[relative].parents[len(relative.parts) - 1])
                raise ConfigError(
                    f"{relative.as_posix()} is in both {other} and {shown(folder)}. "
                    "Names must differ, since only one would be used: rename one of the files."
                )
            seen[relative] = folder / relative
    return {file.stem: file for relative, file in seen.items() if relative.parts[0] == "workload" and len(relative.parts) == 2}


def tagged(files: dict[str, Path], key: str) -> dict[str, list[str]]:
    """Names of workloads by the value of their `chapter:` or `lab:`."""
    found: dict[str, list[str]] = {}
    for name in sorted(files):
        tag = load_yaml(files[name]).get(key)
        if isinstance(tag, str) and composable.NAME.fullmatch(tag):
            found.setdefault(tag, []).append(name)
    return dict(sorted(found.items()))


def offer_tags(files: dict[str, Path], folders: Sequence[Path]) -> None:
    """Tells Hydra of chapters and labs that workloads name and that have no file of their own, so that +chapter=TAG works."""
    from hydra.core.config_store import ConfigStore

    for key in ("chapter", "lab"):
        for tag in tagged(files, key):
            if not any((folder / key / f"{tag}.yaml").is_file() for folder in folders):
                ConfigStore.instance().store(group=key, name=tag, node={"title": tag})


def compose(overrides: Sequence[str], config_dirs: Iterable[Path] = ()) -> Request:
    """The request of a list of overrides, as the command line would make it. For programs; in cli.py Hydra reads the line.

    Raises ConfigError, and Hydra's own exceptions for an override that Hydra refuses.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    folders = config_folders(config_dirs)
    files = workload_files(folders)
    offer_tags(files, folders)
    overrides = normalised(overrides, files)
    refuse_uncomposable(overrides, folders)
    path = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[1:])}]"] if folders[1:] else []
    with initialize_config_dir(str(folders[0]), version_base="1.3"):
        config = hydra_compose("config", overrides=[*overrides, *path])
    return request(config, overrides, folders)


def normalised(overrides: Sequence[str], files: dict[str, Path]) -> list[str]:
    """Overrides as Hydra needs them.

    +chapter=ch01,ch06 and a repeated +chapter= become a list (unless they are to be swept), +workload=ch06_* is written out,
    and keys that a file may leave open get the ++ that adds them. The files of the chosen workloads are read, so that one
    that is no YAML is reported as such. Raises ConfigError for that, an override without a key, and a selection that is no
    name.
    """
    sweep = bool({"-m", "--multirun"} & set(overrides))
    result: list[str] = []
    chosen: dict[str, list[str]] = {}
    for override in (_gpus(each) for each in overrides):
        key, equals, value = override.partition("=")
        if equals and not key.strip("+~ "):
            raise ConfigError(f"'{override}' cannot be read. Write KEY=VALUE.")
        if key.lstrip("+") in SELECTORS and (value.lower() in ("", "null", "true", "false") or value.isdigit()):
            raise ConfigError(f"{override}: a name is wanted, such as {key}=NAME.")
        if key.lstrip("+") in SELECTORS and ("/" in value or ".." in value):
            raise ConfigError(f"{override}: {composable.NAMES}")
        if key.startswith("+") and key[1:] in SELECTORS and "(" not in value and not sweep:
            if key not in chosen:
                result.append(key)
            chosen.setdefault(key, []).extend(_names(key, value, files))
            continue
        result.append("++" + override if equals and key.startswith(("workload.", "protect.knobs.", "axes.")) else override)
    for name in chosen.get("+workload", []):
        if name in files and (found := schema.key_problems(load_yaml(files[name]))):
            raise ConfigError("\n".join(f"{shown(files[name])}: {problem}" for problem in found))
    return [_selecting(word, chosen[word]) if word in chosen else word for word in result]


def _gpus(override: str) -> str:
    """gpus=all as gpus.use=all."""
    return f"gpus.use={override.removeprefix('gpus=')}" if override.startswith("gpus=") and "{" not in override else override


def _names(key: str, value: str, files: dict[str, Path]) -> list[str]:
    """The names in ch01, [ch01,ch06] or ch06_*."""
    names = [name.strip() for name in value.removeprefix("[").removesuffix("]").split(",")]
    if key != "+workload":
        return names
    return [found for name in names for found in (_matching(name, files, key) if "*" in name else [name])]


def _selecting(key: str, names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return f"{key}={names[0]}" if len(names) == 1 else f"{key}=[{','.join(names)}]"


def request(config: DictConfig, overrides: Sequence[str], folders: Sequence[Path]) -> Request:
    """What a composed config and the overrides that made it ask for."""
    data: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    merged = data.get("workload")
    settings = _settings({key: value for key, value in data.items() if key not in SELECTORS})
    chosen = selection(overrides)
    files = workload_files(folders)
    names = list(dict.fromkeys(select(chosen, files, folders)))
    changes = [o for o in overrides if o.lstrip("+~").startswith("workload.")]
    if changes and len(chosen["workload"]) != 1:
        raise ConfigError(
            f"{changes[0].lstrip('+')}: this changes one workload, chosen by +workload=NAME. Choose one, or edit its file."
        )
    if changes:
        composable.refuse_interpolations(merged, "the command line's workload")
    return Request(tuple(files[name] for name in names), settings, merged if changes else None, tuple(overrides))


def selection(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The names behind +workload=, +chapter=, +lab= and +suite=."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    chosen: dict[str, list[str]] = {key: [] for key in SELECTORS}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group in chosen and not override.is_delete():
            value = override.value()
            chosen[override.key_or_group] += [str(item) for item in (value if isinstance(value, list) else [value])]
    return chosen


def select(chosen: dict[str, list[str]], files: dict[str, Path], folders: Sequence[Path]) -> list[str]:
    """Names of the workloads a selection means. Raises ConfigError for a name, tag or suite that means none."""
    names: list[str] = []
    for pattern in chosen["workload"]:
        names += _matching(pattern, files, "+workload")
    for key in ("chapter", "lab"):
        for tag in chosen[key]:
            names += _with_tag(tag, key, files, f"+{key}={tag}")
    for suite in chosen["suite"]:
        names += _suite(suite, files, folders)
    return names


def _suite(name: str, files: dict[str, Path], folders: Sequence[Path]) -> list[str]:
    """Names of the workloads in a suite."""
    candidates = [folder / "suite" / f"{name}.yaml" for folder in folders]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        known = sorted({path.stem for folder in folders for path in (folder / "suite").glob("*.yaml")})
        raise ConfigError(f"+suite={name}: there is no such suite.{did_you_mean(name, known)} Suites: {', '.join(known)}.")
    data, where = load_yaml(file), shown(file)
    found = schema.problems(data, "suite")
    if found:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in found))
    names: list[str] = []
    for key, group in (("chapter", "chapters"), ("lab", "labs")):
        for tag in data["select"].get(group, []):
            names += _with_tag(tag, key, files, f"{where}: select.{group}")
    for pattern in data["select"].get("workloads", []):
        names += _matching(pattern, files, f"{where}: select.workloads")
    left_out = {out for pattern in data.get("exclude", []) for out in _matching(pattern, files, f"{where}: exclude")}
    return [name for name in names if name not in left_out]


def _matching(pattern: str, files: dict[str, Path], where: str) -> list[str]:
    """Names of the workloads that a name or a pattern with * means."""
    found = [name for name in sorted(files) if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        known = ", ".join(sorted(files))
        raise ConfigError(f"{where}: no workload is called '{pattern}'.{did_you_mean(pattern, files)} Workloads: {known}.")
    return found


def _with_tag(tag: str, key: str, files: dict[str, Path], where: str) -> list[str]:
    tags = tagged(files, key)
    if tag not in tags:
        known = f"{key.capitalize()}s: {', '.join(tags)}." if tags else f"No workload has a `{key}:`."
        raise ConfigError(f"{where}: no workload has `{key}: {tag}`.{did_you_mean(tag, tags)} {known}")
    return tags[tag]


def _settings(data: dict[str, Any]) -> dict[str, Any]:
    composable.refuse_resolvers(data)
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(data), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{getattr(error, 'full_key', None) or 'settings'}: {first_line(error)}") from None
    mode = resolved.get("protect", {}).get("mode") if isinstance(resolved.get("protect"), dict) else None
    if mode is False:  # YAML's reading of off
        resolved["protect"]["mode"] = "off"
    found = schema.problems(resolved, "config")
    if found:
        raise ConfigError("\n".join(found))
    return dict(resolved)


def dotted_keys() -> list[str]:
    """Every setting as the command line writes it, for suggestions."""
    keys: list[str] = []
    for key, value in schema.load("config")["properties"].items():
        keys += [key, *(f"{key}.{inner}" for inner in value.get("properties", {}))]
    return keys
