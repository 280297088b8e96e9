"""A workload as its YAML declares it, checked: `load_workload` reads a file, `workload_from_dict` what Hydra composed.

What a schema can say is in schemas/workload.schema.json; here is what it cannot: names that must be declared elsewhere,
functions and parameters of the kernel file. All problems of a file are reported together, in one ConfigError, a line each.
"""

from __future__ import annotations

import dataclasses
import keyword
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import expression, schema, sources
from aisp_runner.axes import written_out
from aisp_runner.config import load_yaml
from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError, did_you_mean

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "bool")
"""Dtypes whose content is whole numbers."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output as declared: its shape still holds axis names."""

    name: str
    shape: tuple[str | int, ...]
    dtype: str
    role: str
    init: str = "normal"
    low: float = 0.0
    high: float = 1.0
    rtol: float = 0.0
    atol: float = 0.0
    because: str = ""


@dataclass(frozen=True)
class VariantSpec:
    """A function of the workload's source."""

    name: str
    device: str = "any"
    """any, cpu or cuda."""
    returns: bool = False


@dataclass(frozen=True)
class WorkloadSpec:
    """A checked workload: every name in it is declared, every function exists and takes the right parameters."""

    name: str
    origin: str
    """The YAML file, as messages show it."""
    question: str
    source: Path
    cuda: tuple[str, ...]
    reference: VariantSpec
    baseline: VariantSpec
    optimized: tuple[VariantSpec, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: dict[str, dict[str, tuple[int, ...]]]
    """Sizes of each axis, by device."""
    listed: frozenset[str] = frozenset()
    """Devices whose cases are listed one by one: the first sizes of all axes, then the second ones."""
    held_out: dict[str, tuple[dict[str, int], ...]] = field(default_factory=dict)
    chapter: str = ""
    lab: str = ""
    work_bytes: str | float | None = None
    work_flops: str | float | None = None
    claim: str = "kernel"
    cache: str = "cold"
    margin: float | None = None
    phase: str = "detect"
    require: str = "valid"
    device: str = "any"
    """Device the workload is about: any, cpu or cuda."""
    min_capability: tuple[int, int] | None = None
    gpus: int = 1
    ranks: int = 1
    """Processes that each variant runs as; every input and output is one rank's."""
    demands: dict[str, Any] = field(default_factory=dict)
    """What the machine and its software must be (`environment.require`), by name."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """What a variant's parameters must be called: the inputs, then the outputs."""
        return tuple(tensor.name for tensor in self.inputs + self.outputs)


def load_workload(path: Path) -> WorkloadSpec:
    """The workload in a YAML file. Raises ConfigError with a line for each problem of it."""
    return workload_from_dict(path.stem, load_yaml(path), shown(path), path.absolute().parent)


def workload_from_dict(name: str, data: Mapping[str, Any], origin: str, folder: Path) -> WorkloadSpec:
    """The workload `name` from plain values.

    origin: what messages begin with. folder: the YAML file's folder, where a relative `source:` is looked for.
    Raises ConfigError with a line for each problem.
    """
    found = schema.problems(data, "workload")
    listed = frozenset(device for device, own in data["axes"].items() if isinstance(own, list)) if not found else frozenset()
    if not found:
        data, found = _with_sizes(data)
    if not found:
        found = _declared_problems(data, listed)
    if not found:
        source, found = find_source(str(data["source"]), folder)
        spec = dataclasses.replace(_build(name, data, origin, source), listed=listed)
        found = found or _tensor_problems(spec) + _function_problems(spec)
        if not found:
            return spec
    raise ConfigError("\n".join(f"{origin}: {problem}" for problem in found))


def _with_sizes(data: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The data with every axis as a list of sizes, and what is wrong with ranges and lists of cases."""
    made, found = {}, []
    for device, own in data["axes"].items():
        try:
            made[device] = written_out(own, f"axes.{device}")
        except ConfigError as error:
            found.append(str(error))
    return {**data, "axes": made}, found


def signature_problem(
    function: sources.Function,
    file: Path,
    spec: WorkloadSpec,
    returns: bool,
    words: tuple[str, str] = ("`returns: true`", "`returns: false`"),
) -> str:
    """What is wrong with a variant's parameters, or "".

    words: how the reader says that the function returns its outputs, and that it does not.
    """
    inputs = tuple(tensor.name for tensor in spec.inputs)
    wanted = inputs if returns else spec.parameters
    if function.takes(wanted):
        return ""
    text = f"{shown(file)}:{function.line}: {function.shown} does not match the workload's "
    text += f"inputs ({', '.join(inputs)})" if returns else f"tensors ({', '.join(wanted)})"
    if not returns and function.takes(inputs):
        return text + f". It takes the inputs alone: if it returns its outputs, say {words[0]}; otherwise add the outputs."
    if returns and function.takes(spec.parameters):
        return text + f". It takes the outputs too: if it writes into them, say {words[1]}; otherwise drop them."
    return text + ". Rename the parameters or the YAML's inputs."


def find_function(file: Path, name: str, where: str) -> sources.Function:
    """The function `name` of a kernel file. Raises ConfigError, with the nearest name, when the file has none."""
    functions = sources.functions(file)
    if name not in functions:
        known = sources.defined(file)
        listed = f"Its functions: {', '.join(known)}." if known else "It defines no function."
        raise ConfigError(f"{where}: {shown(file)} has no function '{name}'.{did_you_mean(name, known)} {listed}")
    return functions[name]


def _build(name: str, data: Mapping[str, Any], origin: str, source: Path) -> WorkloadSpec:
    """The spec from data that passed the schema."""
    verify, environment, work = data.get("verify", {}), data.get("environment", {}), data.get("work", {})
    returns = data.get("returns", False)
    capability = environment.get("min_capability")
    return WorkloadSpec(
        name=name,
        origin=origin,
        question=data["question"],
        source=source,
        cuda=tuple(data.get("cuda", ())),
        reference=VariantSpec(data.get("reference", "reference"), returns=True),
        baseline=_variant(data["baseline"], returns),
        optimized=tuple(_variant(item, returns) for item in _as_list(data["optimized"])),
        inputs=tuple(_tensor(key, value, value.get("role", "activation")) for key, value in data["inputs"].items()),
        outputs=tuple(_tensor(key, value, "output") for key, value in data["outputs"].items()),
        axes={device: {axis: tuple(sizes) for axis, sizes in axes.items()} for device, axes in data["axes"].items()},
        held_out={device: tuple(dict(case) for case in cases) for device, cases in data.get("held_out", {}).items()},
        chapter=data.get("chapter", ""),
        lab=data.get("lab", ""),
        work_bytes=work.get("bytes"),
        work_flops=work.get("flops"),
        claim=data.get("claim", "kernel"),
        cache=data.get("cache", "cold"),
        margin=data.get("margin"),
        phase=verify.get("phase", "detect"),
        require=verify.get("require", "valid"),
        device=environment.get("device", "any"),
        min_capability=None if capability is None else (int(capability.split(".")[0]), int(capability.split(".")[1])),
        gpus=environment.get("gpus", 1),
        ranks=data.get("ranks", 1),
        demands=dict(environment.get("require", {})),
    )


def _variant(value: str | Mapping[str, Any], returns: bool) -> VariantSpec:
    if isinstance(value, str):
        return VariantSpec(value, returns=returns)
    return VariantSpec(value["name"], value.get("device", "any"), value.get("returns", returns))


def _tensor(name: str, value: Mapping[str, Any], role: str) -> TensorSpec:
    numbers: dict[str, Any] = {key: float(value[key]) for key in ("low", "high", "rtol", "atol") if key in value}
    init = value.get("init", "normal")
    return TensorSpec(name, tuple(value["shape"]), value["dtype"], role, init=init, because=value.get("because", ""), **numbers)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def find_source(source: str, folder: Path) -> tuple[Path, list[str]]:
    """Where a workload's source lies, and what is wrong with it.

    Looked for beside the YAML, in the config dir above it, and below the content root when it names one of its folders.
    """
    places = [folder / source, folder.parent / source]
    if source.split("/")[0] in sources.CONTENT_FOLDERS:
        root = content_root() / source
        places = [root] if folder.is_relative_to(content_root() / "conf") else [*places, root]
    for place in places:
        if place.is_file():
            return place.resolve(), []
    listed = " nor ".join(shown(Path(os.path.normpath(place))) for place in places)
    near = ""
    for place in places:
        near = near or did_you_mean(place.name, [file.name for file in place.parent.glob("*.py")])
    return places[0], [f"source: there is {'neither' if len(places) > 1 else 'no'} {listed}.{near}"]


def _declared_problems(data: Mapping[str, Any], listed: Collection[str]) -> list[str]:
    """Names that are used and not declared, declared twice, or contradict each other."""
    found = []
    if "chapter" in data and "lab" in data:
        found.append("lab: a workload belongs to a chapter or to a lab, not to both. Remove one.")
    for name in data["inputs"]:
        if name in data["outputs"]:
            found.append(f"outputs.{name}: there is an input '{name}' too. Parameters need different names.")
    for group in ("inputs", "outputs", *(f"axes.{device}" for device in data["axes"])):
        names = data["axes"][group[5:]] if group.startswith("axes.") else data[group]
        found += [f"{group}.{name}: it is a Python keyword. Use another name." for name in names if keyword.iskeyword(name)]
    variants = [item if isinstance(item, str) else item["name"] for item in _as_list(data["optimized"])]
    for name in dict.fromkeys(variants):
        if variants.count(name) > 1:
            found.append(f"optimized: '{name}' is there {variants.count(name)} times. Leave one.")
    baseline = data["baseline"] if isinstance(data["baseline"], str) else data["baseline"]["name"]
    if baseline in variants:
        found.append(f"optimized: '{baseline}' is the baseline. Compare it with something else.")
    for name, value in data["inputs"].items():
        found += _range_problems(f"inputs.{name}", value)
    if "margin" in data and "margin_because" not in data:
        found.append("margin: without a reason. Add margin_because: why a difference of that size means nothing here.")
    return found + _held_out_problems(data, listed) + _environment_problems(data)


def _range_problems(where: str, value: Mapping[str, Any]) -> list[str]:
    init, low, high = value.get("init", "normal"), value.get("low", 0), value.get("high", 1)
    if init == "normal":
        given = [key for key in ("low", "high") if key in value]
        return [f"{where}.{key}: init normal has no {key}. Remove it, or use uniform." for key in given]
    if init == "integers" and not (float(low).is_integer() and float(high).is_integer()):
        return [f"{where}: init integers needs whole numbers for low and high, not {low} and {high}."]
    if init == "log_uniform" and low <= 0:
        return [f"{where}.low: {low} is not above 0, which log_uniform needs. Give low and high."]
    return [] if low < high else [f"{where}: low {low} is not below high {high}. Give low and high."]


def _held_out_problems(data: Mapping[str, Any], listed: Collection[str]) -> list[str]:
    found = []
    for device, cases in data.get("held_out", {}).items():
        axes = data["axes"].get(device)
        if axes is None:
            found.append(f"held_out.{device}: `axes` has no {device}. Declare axes.{device} too.")
            continue
        for index, case in enumerate(cases):
            where = f"held_out.{device}[{index}]"
            for name in case:
                if name not in axes:
                    found.append(f"{where}.{name}: axis '{name}' is not defined for device {device}.{_axes(name, axes)}")
            missing = [name for name in axes if name not in case]
            if missing:
                found.append(f"{where}: {', '.join(missing)} missing. A held-out case gives every axis of {device}.")
            elif _is_declared(case, axes, device in listed):
                found.append(f"{where}: {case} is one of the declared cases, so it is not held out. Use another size.")
            elif case in cases[:index]:
                found.append(f"{where}: {case} is there twice. Leave one.")
    return found


def _is_declared(case: Mapping[str, int], axes: Mapping[str, Sequence[int]], listed: bool) -> bool:
    if listed:
        return tuple(case[name] for name in axes) in zip(*axes.values(), strict=True)
    return all(case[name] in axes[name] for name in axes)


def _environment_problems(data: Mapping[str, Any]) -> list[str]:
    """Requirements that no machine can meet."""
    environment = data.get("environment", {})
    device, found = environment.get("device", "any"), []
    if device == "cpu":
        for key in ("gpus", "min_capability"):
            if key in environment:
                value = environment[key]
                found.append(f"environment.{key}: {value} cannot be had with device: cpu. Remove it, or say device: cuda.")
    if device != "any" and device not in data["axes"]:
        found.append(f"environment.device: {device}, but `axes` has no {device}. Declare axes.{device}, or say device: any.")
    if "ranks" in data and environment.get("gpus", data["ranks"]) != data["ranks"]:
        found.append(
            f"environment.gpus: {environment['gpus']}, and each of {data['ranks']} ranks has one GPU to itself. Say "
            f"gpus: {data['ranks']}, or leave it out."
        )
    for item in _as_list(data["optimized"]):
        wanted = "any" if isinstance(item, str) else item.get("device", "any")
        if "any" not in (wanted, device) and wanted != device:
            found.append(f"optimized: {item['name']} needs {wanted}, and environment.device is {device}. Change one of them.")
    return found


def _axes(name: str, axes: Mapping[str, Any]) -> str:
    return f"{did_you_mean(name, axes)} " + (f"Axes: {', '.join(axes)}." if axes else "It has no axes.")


def _tensor_problems(spec: WorkloadSpec) -> list[str]:
    """Expressions that are no arithmetic or use an axis that a device does not have."""
    found = []
    places: list[tuple[str, str | float]] = []
    for group, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        places += [(f"{group}.{tensor.name}.shape", size) for tensor in tensors for size in tensor.shape]
    work = {"work.bytes": spec.work_bytes, "work.flops": spec.work_flops}
    places += [(where, value) for where, value in work.items() if value is not None]
    for where, value in places:
        for device, axes in spec.axes.items():
            try:
                expression.check_names(value, axes, where, device)
            except ConfigError as error:
                found.append(str(error))
    return list(dict.fromkeys(found))


def _function_problems(spec: WorkloadSpec) -> list[str]:
    """Functions that the source does not have, or whose parameters are not the workload's tensors."""
    found = []
    for name in spec.cuda:
        file = spec.source.parent / name
        if not file.is_file():
            found.append(f"cuda: {shown(file)} is not there. `cuda:` names files beside {spec.source.name}.")
    wanted = [("reference", spec.reference), ("baseline", spec.baseline)]
    wanted += [("optimized", variant) for variant in spec.optimized]
    for where, variant in wanted:
        try:
            function = find_function(spec.source, variant.name, where)
        except ConfigError as error:
            found.append(str(error))
            if "not Python" in str(error):
                break
            continue
        problem = signature_problem(function, spec.source, spec, variant.returns)
        found += [f"{where}: {problem}"] if problem else []
    return found
