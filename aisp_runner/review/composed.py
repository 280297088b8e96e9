"""What every workload and every setting of one revision amounts to, and which file and key say so.

    python -m aisp_runner.review.composed < ASKED        a Snapshot as JSON on stdout

ASKED is JSON: folder, config_dirs (see `compose`) and changed, the files that differ between the revisions. Only workloads
that depend on one of them are composed: their YAML, a file of their source, or a setting.

A process of its own: Hydra keeps global state, and two revisions are composed at the same time. The runner's own code and
schemas judge both sides; nothing that a YAML names is imported or run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from aisp_runner import axes, config, content, expression, sources, yaml_bounds
from aisp_runner.case import Limits, Measure
from aisp_runner.errors import ConfigError
from aisp_runner.plan import MARGINS
from aisp_runner.protect import registry
from aisp_runner.review import code
from aisp_runner.review.revision import KERNELS
from aisp_runner.spec import TensorSpec, VariantSpec, WorkloadSpec, find_source, load_workload

GROUPS = ("measure", "protect", "environment", "device")
"""Groups of settings: a run takes one option of each."""
MEASURE = "measure="
"""Key of the option of `measure` that a suite is measured with."""
DEFAULT = ""
"""The settings of a run that names none of them."""
MOST_INHERITED = 10
SIZES = 4096
"""Cases of a device at most that are looked at for the largest one."""

UNSAID: dict[str, Any] = {
    **{f"measure.{f.name}": f.default for f in fields(Measure) if f.name != "margin"},
    **{f"limits.{f.name}": f.default for f in fields(Limits)},
    **dict.fromkeys(("run_dir", "candidate", "threads", "margin", "verify.phase", "verify.require")),
    "device": "auto",
    "mode": "run",
    "candidate_returns": False,
    "environment.lock_clocks": False,
    "gpus.use": 1,
    "gpus.mode": None,
    "gpus.wait_seconds": 60,
    "cpus.lanes": 1,
    "cpus.lane_cores": 2,
}
"""Settings that no file needs to name."""

Value = tuple[Any, str, str, int]
"""(value, file that sets it or "", the key there, its line or 0 where the key says it)."""
Values = dict[str, Value]


@dataclass
class Snapshot:
    """One revision, composed. Files are relative to its folder."""

    workloads: dict[str, Values] = field(default_factory=dict)
    unreadable: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of a workload that cannot be composed: its file, and why."""
    settings: dict[str, Values] = field(default_factory=dict)
    """By option, such as measure=quick; DEFAULT for none."""
    suites: dict[str, Values] = field(default_factory=dict)
    others: dict[str, Values] = field(default_factory=dict)
    """Other files of the config folders, and the quarantine file, as they are written."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """What else cannot be composed: a file or setting, and why."""

    @classmethod
    def of_json(cls, text: str) -> Snapshot:
        """A snapshot that `main` wrote."""
        told = json.loads(text)
        for part in ("workloads", "settings", "suites", "others"):
            told[part] = {name: {key: tuple(value) for key, value in values.items()} for name, values in told[part].items()}
        told["unreadable"] = {name: tuple(why) for name, why in told["unreadable"].items()}
        told["problems"] = [tuple(problem) for problem in told["problems"]]
        return cls(**told)


def main() -> int:
    asked = json.load(sys.stdin)
    json.dump(asdict(compose(Path(asked["folder"]), asked["config_dirs"], asked["changed"])), sys.stdout)
    return 0


def compose(folder: Path, named: Sequence[str] = (), changed: Collection[str] | None = None) -> Snapshot:
    """The snapshot of a revision's folder.

    named: its config folders, relative to it; by default those that hold workloads. changed: files that differ from the other
    revision; a workload that depends on none of them has no values. None: all are composed.
    """
    folder = folder.resolve()
    if (folder / "conf" / "config.yaml").is_file():
        content.read_from(folder)
    own = [folder / name for name in named] if named else list(found_in(folder))
    made, folders = Snapshot(), [content.content_root() / "conf"]
    try:
        if content.content_root() == folder:
            config.refuse_foreign_root(folder / "conf")
        folders = list(config.config_folders(own))
        files = config.workload_files(folders)
    except ConfigError as error:
        made.problems.append((", ".join(named) or "the config folders", str(error)))
        return made
    reader = _Reader(folder)
    defaults = _settings(folders, made, reader, changed is None or _of_settings(changed))
    for name, file in files.items():
        if file.is_relative_to(folder):
            try:
                affected = changed is None or reader.affected(file, changed)
                made.workloads[name] = reader.workload(load_workload(file), file, defaults) if affected else {}
            except (ConfigError, SyntaxError, RecursionError, UnicodeDecodeError) as error:
                made.unreadable[name] = (reader.relative(file), str(error))
    _suites(folders, files, made, reader)
    return made


def found_in(folder: Path) -> Iterator[Path]:
    """Config folders of a repository: those with workload/*.yaml, at most three levels down."""
    for pattern in ("workload", "*/workload", "*/*/workload"):
        for place in sorted(folder.glob(pattern)):
            parts = place.relative_to(folder).parts
            hidden = any(part.startswith(".") or part in ("node_modules", "site-packages") for part in parts)
            if place.is_dir() and not hidden and any(place.glob("*.yaml")):
                yield place.parent


def _of_settings(changed: Collection[str]) -> bool:
    """Whether one of these files sets what several workloads share."""
    parts = [Path(name).parts for name in changed]
    return any(p[-1] == "config.yaml" or (len(p) > 1 and p[-2] in GROUPS) for p in parts)


def _settings(folders: Sequence[Path], made: Snapshot, reader: _Reader, every: bool) -> Values:
    """Composes the settings without any option and, where every one is wanted, with each; gives those without."""
    files = [file for group in GROUPS for folder in folders for file in sorted((folder / group).glob("*.yaml"))]
    options = [DEFAULT, *(f"{file.parent.name}={file.stem}" for file in files if every)]
    dirs = [folder for folder in folders if folder != content.content_root() / "conf"]
    for option in options:
        try:
            settings = config.compose([option] if option else [], dirs).settings
            made.settings[option] = reader.settings(settings, folders, option)
        except ConfigError as error:
            made.problems.append((option or "settings", str(error)))
        except Exception as error:  # Hydra's own, of many kinds: told, never raised through a review
            made.problems.append((option or "settings", config.first_line(error)))
    return made.settings.get(DEFAULT, {})


def _suites(folders: Sequence[Path], files: dict[str, Path], made: Snapshot, reader: _Reader) -> None:
    for folder in folders:
        for file in sorted((folder / "suite").glob("*.yaml")) if folder.is_relative_to(reader.folder) else ():
            try:
                chosen = config.select({"workload": [], "chapter": [], "lab": [], "suite": [file.stem]}, files, folders)
                where = reader.relative(file)
                made.suites[file.stem] = dict.fromkeys(chosen, (True, where, "select", 0))
                named = config.load_yaml(file).get("defaults", [{}])[0]
                made.suites[file.stem][MEASURE] = next(iter(named.values()), "standard"), where, "defaults", 0
            except ConfigError as error:
                made.problems.append((reader.relative(file), str(error)))
        for group in ("chapter", "lab"):
            for file in sorted((folder / group).glob("*.yaml")) if folder.is_relative_to(reader.folder) else ():
                _other(file, made, reader)
    if (reader.folder / "quarantine.yaml").is_file():
        _other(reader.folder / "quarantine.yaml", made, reader)


def _other(file: Path, made: Snapshot, reader: _Reader) -> None:
    try:
        where = reader.relative(file)
        made.others[where] = {key: (value, where, key, 0) for key, value in flat(config.load_yaml(file))}
    except ConfigError as error:
        made.problems.append((reader.relative(file), str(error)))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a tree; a list is one value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


class _Reader:
    """Makes values of specs and settings, with the places that set them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def relative(self, file: Path) -> str:
        """A path as findings show it."""
        return file.relative_to(self.folder).as_posix() if file.is_relative_to(self.folder) else str(file)

    def affected(self, file: Path, changed: Collection[str]) -> bool:
        """Whether a workload's values can depend on one of these files."""
        if self.relative(file) in changed or _of_settings(changed):
            return True
        if not any(name.endswith(KERNELS) for name in changed):
            return False
        data = config.load_yaml(file)
        source = find_source(str(data.get("source", "")), file.absolute().parent)[0]
        files = [
            *sources.closure(source),
            *(f for cu in data.get("cuda", ()) for f in sources.with_headers(source.parent / cu)),
        ]
        return any(self.relative(each) in changed for each in files)

    def workload(self, spec: WorkloadSpec, file: Path, settings: Values) -> Values:
        """Every effective value of a workload that a run of it depends on, apart from the settings that all share."""
        where = self.relative(file)
        values: Values = {key: (value, where, at, 0) for key, value, at in _declared(spec, self.relative(spec.source))}
        for key, own, at in (
            ("verify.phase", spec.phase, ""),
            ("verify.require", spec.require, ""),
            ("margin", spec.margin, ""),
        ):
            common = settings.get(key, (None, "", "", 0))
            value = own if own is not None else MARGINS[spec.claim]
            values[key] = common if common[0] is not None else (value, where, at or key, 0)
        for key, variant in (("reference", spec.reference), ("baseline", spec.baseline)):
            values[f"code.{key}"] = self._code(spec, variant)
        for variant in spec.optimized:
            values[f"code.optimized.{variant.name}"] = self._code(spec, variant)
        return values

    def _code(self, spec: WorkloadSpec, variant: VariantSpec) -> Value:
        line = sources.functions(spec.source)[variant.name].line
        return code.digest(spec.source, variant.name, spec.cuda), self.relative(spec.source), "", line

    def settings(self, settings: Mapping[str, Any], folders: Sequence[Path], option: str) -> Values:
        """Every setting, and every protection with its knobs."""
        places = self._places(folders, option)
        said = UNSAID | dict(flat({key: value for key, value in settings.items() if key != "protect"}))
        values = {key: (value, *places.get(key, ("", "", 0))) for key, value in said.items()}
        told = next((places[key] for key in ("protect.disable", "protect.mode", "protect.knobs") if key in places), ("", "", 0))
        for name, knobs in registry.select(settings.get("protect", {})).items():
            values[f"protections.{name}"] = ("on", *told)
            knob_place = next((place for key, place in places.items() if key.startswith(f"protect.knobs.{name}")), told)
            values |= {f"protections.{name}.{knob}": (value, *knob_place) for knob, value in knobs.items()}
        return values

    def _places(self, folders: Sequence[Path], option: str) -> dict[str, tuple[str, str, int]]:
        """File and key of each setting: the chosen option's file wins over config.yaml."""
        chosen = self._chosen(folders) | ({option.partition("=")[0]: option.partition("=")[2]} if option else {})
        found: dict[str, tuple[str, str, int]] = {}
        files = [("", folders[0] / "config.yaml")]
        for group, name in chosen.items():
            files += [(group, file) for folder in folders for file in _inherited(folder / group / f"{name}.yaml")]
        for group, file in files:
            prefix = "" if not group or "@package _global_" in file.read_text("utf-8") else f"{group}."
            for key, _ in flat(config.load_yaml(file)):
                found[prefix + key] = (self.relative(file), key, 0)
        return found

    def _chosen(self, folders: Sequence[Path]) -> dict[str, str]:
        """The options that config.yaml takes by default."""
        root = yaml_bounds.nodes((folders[0] / "config.yaml").read_text("utf-8"))
        defaults = next((value for key, value in root.value if key.value == "defaults"), None)
        pairs = [item.value[0] for item in defaults.value if item.id == "mapping"] if defaults is not None else []
        return {key.value: value.value for key, value in pairs if key.value in GROUPS}


def _inherited(file: Path, depth: int = 0) -> list[Path]:
    """An option's file behind those that its `defaults` names, as Hydra merges them; none where it is not there."""
    if not file.is_file() or depth > MOST_INHERITED:
        return []
    named = config.load_yaml(file).get("defaults", ["_self_"])
    names = [name for name in named if isinstance(name, str)] + ["_self_"] * ("_self_" not in named)
    return [f for name in names for f in ([file] if name == "_self_" else _inherited(file.parent / f"{name}.yaml", depth + 1))]


def _declared(spec: WorkloadSpec, source: str) -> Iterator[tuple[str, Any, str]]:
    """(path, value, key in the YAML) of what a workload's file declares, defaults filled in."""
    for key in ("question", "chapter", "lab", "claim", "cache", "ranks"):
        yield key, getattr(spec, key), key
    yield "source", source, "source"
    yield "cuda", sorted(spec.cuda), "cuda"
    yield "reference", spec.reference.name, "reference"
    yield "baseline", _variant(spec.baseline), "baseline"
    for index, variant in enumerate(spec.optimized):
        yield f"optimized.{variant.name}", _variant(variant), f"optimized[{index}]"
    for group, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        for tensor in tensors:
            yield from _tensor(group, tensor)
    for device, own in spec.axes.items():
        if device in spec.listed:
            yield (
                f"axes.{device}",
                sorted((dict(sorted(c.items())) for c in axes.cases(spec, device)), key=str),
                f"axes.{device}",
            )
        else:
            yield from ((f"axes.{device}.{axis}", sorted(sizes), f"axes.{device}.{axis}") for axis, sizes in own.items())
        held_out = sorted((dict(sorted(case.items())) for case in spec.held_out.get(device, ())), key=str)
        yield f"held_out.{device}", held_out, f"held_out.{device}"
    yield from _elements(spec)
    yield "work.bytes", spec.work_bytes, "work.bytes"
    yield "work.flops", spec.work_flops, "work.flops"
    yield "environment.device", spec.device, "environment.device"
    capability = None if spec.min_capability is None else ".".join(map(str, spec.min_capability))
    yield "environment.min_capability", capability, "environment.min_capability"
    yield "environment.gpus", spec.gpus, "environment.gpus"
    yield from ((f"environment.require.{key}", value, f"environment.require.{key}") for key, value in spec.demands.items())


def _variant(variant: VariantSpec) -> str:
    """eager, or eager (cpu, returns its outputs)."""
    about = [variant.device] * (variant.device != "any") + ["returns its outputs"] * variant.returns
    return f"{variant.name} ({', '.join(about)})" if about else variant.name


def _tensor(group: str, tensor: TensorSpec) -> Iterator[tuple[str, Any, str]]:
    where = f"{group}.{tensor.name}"
    keys = ("dtype", "role", "init", "low", "high") if group == "inputs" else ("dtype", "rtol", "atol", "because")
    yield f"{where}.shape", list(tensor.shape), f"{where}.shape"
    yield from ((f"{where}.{key}", getattr(tensor, key), f"{where}.{key}") for key in keys)


def _elements(spec: WorkloadSpec) -> Iterator[tuple[str, Any, str]]:
    """The most elements that each tensor has in a declared case, by device."""
    cases = {device: axes.cases(spec, device)[:SIZES] for device in spec.axes}
    for group, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        for tensor in tensors:
            where = f"{group}.{tensor.name}.shape"

            def size(case: dict[str, int], device: str, shape: tuple[str | int, ...] = tensor.shape, where: str = where) -> int:
                return math.prod(int(expression.evaluate(entry, case, where, device)) for entry in shape)

            yield f"elements.{tensor.name}", {d: max(size(c, d) for c in own) for d, own in cases.items()}, where


if __name__ == "__main__":
    sys.exit(main())
