"""From a request to a Plan: every comparison with concrete shapes, on a device that is there, or why it cannot run.

Nothing is started, no kernel file is imported and torch is not loaded.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aisp_runner import expression, host_memory, machine, sources
from aisp_runner.axes import cases, overridden, refuse_unknown
from aisp_runner.case import Case, Limits, Measure, Plan, Skip, Source, Tensor, Variant
from aisp_runner.config import Request, compose
from aisp_runner.content import shown
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.lanes.asked import of_settings
from aisp_runner.lanes.layout import each, threads
from aisp_runner.protect import registry
from aisp_runner.spec import (
    TensorSpec,
    VariantSpec,
    WorkloadSpec,
    find_function,
    load_workload,
    signature_problem,
    workload_from_dict,
)


@dataclass(frozen=True)
class World:
    """What a plan must know of a machine."""

    gpus: tuple[dict[str, Any], ...] = ()
    """Visible GPUs as machine.gpus() tells them: name, capability "9.0", memory_bytes."""
    why_none: str = ""
    """Why there is no GPU."""
    cores: int = 1
    """CPU cores this process may use."""
    memory_bytes: int | None = None
    """Host memory that this process may use; None where that is not known."""


@cache
def this_machine() -> World:
    """The facts of the machine this runs on."""
    gpus, why = machine.gpus()
    return World(tuple(gpus), why, len(os.sched_getaffinity(0)), host_memory.total_bytes())


def plan_of(overrides: Sequence[str], config_dirs: Iterable[Path] = (), world: World | None = None) -> Plan:
    """The plan for a list of overrides, as `aisp-run` makes it of its command line."""
    return make_plan(compose(overrides, config_dirs), world or this_machine())


def make_plan(request: Request, world: World) -> Plan:
    """The plan for a request on a machine. Raises ConfigError with a line for each problem of the workloads' files."""
    specs, problems = [], []
    for file in request.files:
        try:
            specs.append(spec_of(file, request))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    refuse_unknown(request.settings.get("axes", {}), specs)
    planner = Planner(request.settings, world)
    for spec in specs:
        planner.add(spec)
    return Plan(each(planner.cases, planner.asked), tuple(planner.skips), request.overrides)


def spec_of(file: Path, request: Request) -> WorkloadSpec:
    """One of a request's workloads, with the command line's `workload.*`. Raises ConfigError."""
    spec = load_workload(file)
    if request.changed is None or file != request.files[0]:
        return spec
    origin = f"{shown(file)} with the command line's workload.*"
    return workload_from_dict(file.stem, request.changed, origin, file.absolute().parent)


class Planner:
    """Collects cases and skips, workload by workload."""

    def __init__(self, settings: dict[str, Any], world: World) -> None:
        self.settings, self.world, self.asked = settings, world, of_settings(settings)
        self.cases: list[Case] = []
        self.skips: list[Skip] = []
        self.limits = Limits(**{key: float(value) for key, value in settings.get("limits", {}).items()})
        self.protections = registry.select(settings.get("protect", {}))
        self.candidate = _candidate(settings["candidate"]) if settings.get("candidate") else None
        self._sources: dict[tuple[Path, tuple[str, ...]], Source] = {}

    def add(self, spec: WorkloadSpec) -> None:
        """Plan every comparison of a workload: its cases times its variants."""
        device = self._device(spec)
        spec = overridden(spec, device, self.settings.get("axes", {}))
        variants = self._variants(spec)
        reason = self._unmet(spec, device)
        if not reason and spec.baseline.device not in ("any", device):
            reason = f"its baseline {spec.baseline.name} needs {spec.baseline.device}"
        for variant, _ in variants:
            needs = variant.device if variant.device not in ("any", device) else ""
            if reason or needs:
                why = reason or f"it needs {needs}, and this run is on {device}"
                self.skips.append(Skip(spec.name, variant.name, device, why))
        if reason:
            return
        for axes, held_out in _cases(spec, device):
            shapes = self._tensors(spec, axes, device)
            too_large = self._too_large(spec, axes, shapes, device)
            for variant, source in variants:
                if variant.device not in ("any", device):
                    continue
                if too_large:
                    self.skips.append(Skip(spec.name, variant.name, device, too_large))
                else:
                    self.cases.append(self._case(spec, device, axes, held_out, shapes, self._variant(variant, source)))

    def _device(self, spec: WorkloadSpec) -> str:
        asked: str = self.settings.get("device", "auto")
        if asked != "auto":
            return asked
        if spec.device != "any":
            return spec.device
        enough = len(self.world.gpus) >= (spec.ranks if spec.ranks > 1 else 1)
        return "cuda" if "cuda" in spec.axes and (enough or "cpu" not in spec.axes) else "cpu"

    def _unmet(self, spec: WorkloadSpec, device: str) -> str:
        """Why a workload cannot run on `device` here, or ""."""
        if spec.device not in ("any", device):
            return f"the workload needs {spec.device} (environment.device), and this run is on {device}"
        if device not in spec.axes:
            return f"it declares no sizes for {device} (axes.{device})"
        if device == "cpu":
            return f"it needs {spec.gpus} GPUs, and this run is on cpu" if spec.gpus > 1 else ""
        gpus = self.world.gpus
        if not gpus:
            return f"no CUDA GPU is visible{f': {self.world.why_none}' if self.world.why_none else ''}"
        if len(gpus) < spec.gpus:
            return f"{len(gpus)} of {spec.gpus} GPUs asked for are visible{_visible_devices()}"
        if len(gpus) < spec.ranks:
            seen = f"{len(gpus)} {'is' if len(gpus) == 1 else 'are'} visible{_visible_devices()}"
            other = "run it with device=cpu" if "cpu" in spec.axes and spec.device == "any" else "declare fewer ranks"
            return f"it runs as {spec.ranks} ranks, each on a GPU of its own (`ranks`), and {seen}: show it more, or {other}"
        if spec.min_capability:
            for gpu in gpus[: max(spec.gpus, spec.ranks)]:
                have = gpu.get("capability")
                if have is None or tuple(int(part) for part in have.split(".")) < spec.min_capability:
                    return f"{gpu.get('name')} has compute capability {have}, and {_version(spec.min_capability)} is needed"
        return ""

    def _variants(self, spec: WorkloadSpec) -> list[tuple[VariantSpec, Source]]:
        """The functions to compare with the baseline, each with its source."""
        if self.candidate is None:
            return [(variant, self._source(spec.source, spec.cuda)) for variant in spec.optimized]
        file, name = self.candidate
        returns = self.settings.get("candidate_returns", False)
        function = find_function(file, name, "candidate")
        problem = signature_problem(function, file, spec, returns, ("candidate_returns=true", "candidate_returns=false"))
        if problem:
            raise ConfigError(f"candidate for {spec.name}: {problem}")
        return [(VariantSpec(name, returns=returns), self._source(file, ()))]

    def _source(self, file: Path, cuda: tuple[str, ...]) -> Source:
        if (file, cuda) not in self._sources:
            self._sources[file, cuda] = sources.describe(file, cuda)
        return self._sources[file, cuda]

    def _variant(self, variant: VariantSpec, source: Source) -> Variant:
        return Variant(variant.name, source, variant.name, variant.returns)

    def _tensors(self, spec: WorkloadSpec, axes: dict[str, int], device: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs and outputs of a case."""
        both = []
        for group, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
            made = [_tensor(tensor, axes, f"{spec.origin}: {group}.{tensor.name}", device) for tensor in tensors]
            both.append(
                tuple(made) if spec.ranks == 1 else tuple(_ranked(tensor, r) for tensor in made for r in range(spec.ranks))
            )
        return both[0], both[1]

    def _too_large(self, spec: WorkloadSpec, axes: dict[str, int], tensors: tuple[tuple[Tensor, ...], ...], device: str) -> str:
        """Why a case's tensors do not fit, or ""."""
        need = sum(host_memory.tensor_bytes(tensor) for group in tensors for tensor in group)
        sizes = ",".join(f"{axis}={size}" for axis, size in axes.items())
        text = f"one call's tensors take {need / 2**30:.2f} GiB at {sizes}"
        limit = self.limits.memory_gib * 2**30
        if device == "cpu" and need > limit:
            return f"{text}, more than limits.memory_gib={self.limits.memory_gib:g}"
        if device == "cpu":
            measure = measure_of(self.settings, spec, self.settings.get("verify", {}).get("phase") or spec.phase)
            least = host_memory.least_bytes(tensors[0], tensors[1], measure)
            return host_memory.too_little(least, self.world.memory_bytes, f"the case at {sizes}", "this machine has")
        memory = self.world.gpus[0].get("memory_bytes") if device == "cuda" else None
        if memory and 2 * need > memory:
            return f"{text}; twice that is more than the {memory / 2**30:.0f} GiB of {self.world.gpus[0].get('name')}"
        return ""

    def _case(
        self,
        spec: WorkloadSpec,
        device: str,
        axes: dict[str, int],
        held_out: bool,
        tensors: tuple[tuple[Tensor, ...], tuple[Tensor, ...]],
        optimized: Variant,
    ) -> Case:
        own, verify = self._source(spec.source, spec.cuda), self.settings.get("verify", {})
        return Case(
            workload=spec.name,
            question=spec.question,
            group=spec.chapter or spec.lab,
            origin=spec.origin,
            axes=axes,
            held_out=held_out,
            device=device,
            inputs=tensors[0],
            outputs=tensors[1],
            reference=self._variant(spec.reference, own),
            baseline=self._variant(spec.baseline, own),
            optimized=optimized,
            candidate=self.settings.get("candidate"),
            claim=spec.claim,
            cache=spec.cache,
            threads=self.settings.get("threads") or threads(self.asked, device, self.world.cores),
            phase=verify.get("phase") or spec.phase,
            require=verify.get("require") or spec.require,
            work_bytes=expression.work(spec.work_bytes, axes, f"{spec.origin}: work.bytes", device),
            work_flops=expression.work(spec.work_flops, axes, f"{spec.origin}: work.flops", device),
            measure=measure_of(self.settings, spec, verify.get("phase") or spec.phase),
            limits=self.limits,
            ranks=spec.ranks,
            protections=self.protections,
            demands=spec.demands,
        )


def _candidate(text: str) -> tuple[Path, str]:
    """The file and function of `candidate=FILE.py::FUNCTION`."""
    file, colons, name = text.partition("::")
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.py")]) if path.parent.is_dir() else ""
        raise ConfigError(f"candidate: there is no file '{file}'.{near} Write candidate=path/to/file.py::function.")
    if not colons or not name:
        known = ", ".join(sources.defined(path)) or "none"
        raise ConfigError(f"candidate: '{text}' names no function. Write candidate={file}::FUNCTION. Its functions: {known}.")
    find_function(path, name, "candidate")
    return path, name


def _cases(spec: WorkloadSpec, device: str) -> list[tuple[dict[str, int], bool]]:
    """Axis values of each case and whether it is held out."""
    axes = spec.axes[device]
    declared = cases(spec, device)
    held_out = [{axis: case[axis] for axis in axes} for case in spec.held_out.get(device, ())]
    return [(case, False) for case in declared] + [(case, True) for case in held_out]


def _tensor(spec: TensorSpec, axes: dict[str, int], where: str, device: str) -> Tensor:
    shape = expression.shape(spec.shape, axes, f"{where}.shape", device)
    return Tensor(
        name=spec.name, shape=shape, dtype=spec.dtype, role=spec.role, init=spec.init, low=spec.low, high=spec.high,
        rtol=spec.rtol, atol=spec.atol, because=spec.because,
    )  # fmt: skip


def _ranked(tensor: Tensor, rank: int) -> Tensor:
    return dataclasses.replace(tensor, name=f"{tensor.name}@{rank}", rank=rank)


MARGINS = {"kernel": 0.01, "wall": 0.02}
"""Margin of a workload that names none, by what it claims."""


def measure_of(settings: dict[str, Any], spec: WorkloadSpec, phase: str) -> Measure:
    """How long and how often a workload is measured with these settings. Raises ConfigError."""
    values = dict(settings.get("measure", {}))
    calls = values.pop("calls", None)
    if calls is not None and calls[0] >= calls[1]:
        raise ConfigError(f"measure.calls: {calls} must be (short, long), the first below the second.")
    fractions = {f.name for f in dataclasses.fields(Measure) if f.type == "float"}
    numbers: dict[str, Any] = {key: float(value) if key in fractions else value for key, value in values.items()}
    margin = settings.get("margin") or spec.margin or MARGINS[spec.claim]
    if numbers.get("min_rounds", 0) > numbers.get("rounds", Measure.rounds):
        numbers["min_rounds"] = numbers.get("rounds", Measure.rounds)
    if phase == "gate":
        numbers["control"] = True
    if numbers.get("device_clock", "auto") == "auto":
        numbers["device_clock"] = "cupti" if importlib.util.find_spec("cupti") else "off"
    return Measure(**numbers, calls=None if calls is None else (calls[0], calls[1]), margin=float(margin))


def _version(capability: tuple[int, int] | None) -> str:
    return ".".join(str(part) for part in capability or ())


def _visible_devices() -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" (CUDA_VISIBLE_DEVICES={chosen})"
