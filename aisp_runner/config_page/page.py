"""The page: sections of rows, each with a key, its effective value, and who sets it. Imports no kernel file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import sources
from aisp_runner.case import Case, Tensor
from aisp_runner.config import Request, load_yaml
from aisp_runner.config_page.origin import Origin, Settings, Words, at, default, document, field_lines
from aisp_runner.content import shown
from aisp_runner.host_memory import tensor_bytes
from aisp_runner.plan import MARGINS, Planner, World, measure_of, spec_of
from aisp_runner.protect import registry
from aisp_runner.spec import TensorSpec, VariantSpec, WorkloadSpec

ANY_GPU = {"name": "a GPU that meets the requirements", "capability": "99.9"}
"""What the sizes for CUDA are planned for: the page is about the declaration, not about this machine."""
WORKLOAD = "schemas/workload.schema.json"


@dataclass(frozen=True)
class Row:
    """One effective value."""

    key: str
    value: str
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"key": self.key, "value": self.value, "set_by": self.origin.to_json()}


Sections = dict[str, list[Row]]


class ConfigPage:
    """One workload with the settings of a request. Raises ConfigError as planning it does."""

    def __init__(self, request: Request, folders: tuple[Path, ...]) -> None:
        self.request, self.settings, self.file = request, request.settings, request.files[0]
        self.spec: WorkloadSpec = spec_of(self.file, request)
        self.words = Words(request.overrides)
        defaults: dict[str, str] = {}
        for entry in load_yaml(folders[0] / "config.yaml")["defaults"]:
            defaults |= entry if isinstance(entry, dict) else {}
        self.origins = Settings(self.words, folders, defaults)
        self.planners = {device: self._planned(device) for device in self._devices()}

    def sections(self) -> Sections:
        """Everything that the page shows, by heading."""
        return {
            "comparison": list(self._comparison()),
            "functions": list(self._functions()),
            "inputs": [row for tensor in self.spec.inputs for row in self._tensor("inputs", tensor)],
            "outputs": [row for tensor in self.spec.outputs for row in self._tensor("outputs", tensor)],
            "cases": [row for device in self.planners for row in self._cases(device)],
            "verdict": list(self._verdict()),
            "measure": list(self._measure()),
            "machine": list(self._machine()),
            "protections": list(self._protections()),
        }

    def _devices(self) -> list[str]:
        asked = self.settings.get("device", "auto")
        return [device for device in ("cpu", "cuda") if device in self.spec.axes and asked in ("auto", device)] or [asked]

    def _planned(self, device: str) -> Planner:
        count = max(self.spec.gpus, self.spec.ranks, 1)
        world = World(tuple(ANY_GPU for _ in range(count)), cores=len(os.sched_getaffinity(0)))
        planner = Planner({**self.settings, "device": device}, world)
        planner.add(self.spec)
        return planner

    @property
    def _declared(self) -> dict[str, Any]:
        """The workload's values, with the command line's."""
        return self.request.changed or load_yaml(self.file)

    def _of(self, path: str) -> Origin:
        """Who sets a key of the workload."""
        said = self.words.sets(f"workload.{path}")
        line = document(self.file).line_of(path)
        return said or (at(self.file, line) if line else default(WORKLOAD))

    def _comparison(self) -> Iterator[Row]:
        spec = self.spec
        yield Row("question", spec.question, self._of("question"))
        yield Row("source", shown(spec.source), self._of("source"))
        for key, value in (("cuda", ", ".join(spec.cuda)), ("chapter", spec.chapter), ("lab", spec.lab)):
            if value:
                yield Row(key, value, self._of(key))
        for key, work in (("bytes", spec.work_bytes), ("flops", spec.work_flops)):
            told = "unknown" if work is None else f"{work} {'bytes' if key == 'bytes' else 'operations'} a call"
            yield Row(f"work.{key}", told, self._of(f"work.{key}"))

    def _functions(self) -> Iterator[Row]:
        yield self._function("reference", self.spec.reference, self.spec.source, self._of("reference"))
        yield self._function("baseline", self.spec.baseline, self.spec.source, self._of("baseline"))
        candidate = self.settings.get("candidate")
        if candidate:
            file, _, name = candidate.partition("::")
            variant = VariantSpec(name, returns=self.settings.get("candidate_returns", False))
            yield self._function("candidate", variant, Path(file).expanduser().absolute(), self.origins.of("candidate"))
            return
        several = isinstance(self._declared.get("optimized"), list)
        for index, variant in enumerate(self.spec.optimized):
            origin = self._of(f"optimized[{index}]" if several else "optimized")
            yield self._function("optimized", variant, self.spec.source, origin)

    def _function(self, key: str, variant: VariantSpec, source: Path, origin: Origin) -> Row:
        """Where a function is defined, from the syntax tree."""
        function = sources.functions(source)[variant.name]
        notes = [f"{variant.device} only"] if variant.device != "any" else []
        notes += ["returns its outputs"] if variant.returns and key != "reference" else []
        told = f" ({', '.join(notes)})" if notes else ""
        return Row(key, f"{function.shown}{told} at {shown(source)}:{function.line}", origin)

    def _tensor(self, group: str, tensor: TensorSpec) -> Iterator[Row]:
        """Its attributes, those of one line of one file together."""
        parts = {"shape": f"[{', '.join(map(str, tensor.shape))}]", "dtype": tensor.dtype}
        if group == "inputs":
            parts |= {"init": f"init {tensor.init}", "role": f"role {tensor.role}"}
            if tensor.init != "normal":
                parts |= {"low": f"low {tensor.low:g}", "high": f"high {tensor.high:g}"}
        else:
            parts |= {"rtol": f"rtol {tensor.rtol:g}", "atol": f"atol {tensor.atol:g}"}
            parts |= {"because": f"because: {tensor.because or 'no reason is given'}"}
        grouped: dict[Origin, list[str]] = {}
        for name, text in parts.items():
            grouped.setdefault(self._of(f"{group}.{tensor.name}.{name}"), []).append(text)
        for origin, texts in grouped.items():
            yield Row(tensor.name, ", ".join(texts), origin)

    def _cases(self, device: str) -> Iterator[Row]:
        planner, met = self.planners[device], list[tuple[dict[str, int], bool]]()
        for case in planner.cases:
            if (case.axes, case.held_out) not in met:
                met.append((case.axes, case.held_out))
                yield Row(device, _case(case), self._sizes(device, case))
        for skip in planner.skips:
            yield Row(device, f"{skip.variant} is skipped: {skip.reason}", self._of(f"axes.{device}"))

    def _sizes(self, device: str, case: Case) -> Origin:
        if not case.held_out:
            first = next(iter(case.axes), "")
            return self._of(f"axes.{device}.{first}" if first else f"axes.{device}")
        index = self.spec.held_out[device].index(case.axes)
        return self._of(f"held_out.{device}[{index}]")

    def _verdict(self) -> Iterator[Row]:
        spec, settings = self.spec, self.settings
        yield Row("claim", spec.claim, self._of("claim"))
        yield Row("cache", spec.cache, self._of("cache"))
        if settings.get("margin"):
            yield Row("margin", f"{settings['margin']:g}", self.origins.of("margin"))
        elif spec.margin:
            yield Row("margin", f"{spec.margin:g}", self._of("margin"))
            yield Row("margin_because", str(self._declared.get("margin_because", "")), self._of("margin_because"))
        else:
            yield Row("margin", f"{MARGINS[spec.claim]:g} for a claim of {spec.claim}", default(WORKLOAD))
        for key, own in (("phase", spec.phase), ("require", spec.require)):
            over = settings.get("verify", {}).get(key)
            yield Row(f"verify.{key}", over or own, self.origins.of(f"verify.{key}") if over else self._of(f"verify.{key}"))

    def _measure(self) -> Iterator[Row]:
        """What a run uses, and what was asked for where that is resolved otherwise."""
        phase = self.settings.get("verify", {}).get("phase") or self.spec.phase
        measure, asked = measure_of(self.settings, self.spec, phase), self.settings.get("measure", {})
        for field in dataclasses.fields(measure):
            if field.name == "margin":
                continue
            value = getattr(measure, field.name)
            wanted = asked.get(field.name, value)
            text = "calibrated" if value is None else _plain(value)
            if value is not None and _plain(wanted) != text:
                why = ": a gate always has it" if field.name == "control" else ""
                text += f" (asked for: {_plain(wanted)}{why})"
            yield Row(field.name, text, self.origins.of(f"measure.{field.name}"))

    def _machine(self) -> Iterator[Row]:
        spec, settings = self.spec, self.settings
        yield Row("device", settings.get("device", "auto"), self.origins.of("device"))
        yield Row("environment.device", spec.device, self._of("environment.device"))
        capability = ".".join(map(str, spec.min_capability)) if spec.min_capability else "any"
        yield Row("environment.min_capability", capability, self._of("environment.min_capability"))
        yield Row("environment.gpus", str(spec.gpus), self._of("environment.gpus"))
        for name, value in spec.demands.items():
            yield Row(f"environment.require.{name}", _plain(value), self._of(f"environment.require.{name}"))
        yield Row("ranks", str(spec.ranks), self._of("ranks"))
        threads = settings.get("threads")
        cores = len(os.sched_getaffinity(0))
        told = str(threads) if threads else f"the usable cores less one: {max(1, cores - 1)} here"
        yield Row("threads", told, self.origins.of("threads"))
        lock = settings.get("environment", {}).get("lock_clocks", False)
        yield Row("environment.lock_clocks", _plain(lock), self.origins.of("environment.lock_clocks"))
        for field in dataclasses.fields(self._limits):
            yield Row(f"limits.{field.name}", f"{getattr(self._limits, field.name):g}", self.origins.of(f"limits.{field.name}"))

    @property
    def _limits(self) -> Any:
        return next(iter(self.planners.values())).limits

    def _protections(self) -> Iterator[Row]:
        chosen = next(iter(self.planners.values())).protections
        yield Row("mode", str(self.settings.get("protect", {}).get("mode", "strict")), self.origins.of("protect.mode"))
        disabled = self.settings.get("protect", {}).get("disable") or ()
        for name, kind in registry.known().items():
            notes = ["essential"] if kind.essential else []
            notes += [f"{kind.needs} only"] if kind.needs != "any" else []
            if name not in chosen:
                origin = self.origins.of("protect.disable" if name in disabled else "protect.mode")
                yield Row(name, ", ".join(["OFF", *notes]), origin)
                continue
            module = Path(registry.__file__).parent / f"{name.replace('.', '/')}.py"
            knobs = chosen[name]
            set_by = [(knob, self._knob(name, knob, module)) for knob in knobs]
            if not set_by:
                yield Row(name, ", ".join(["on", *notes]), self.origins.of("protect.mode"))
            for knob, origin in set_by:
                yield Row(name, ", ".join(["on", *notes, f"{knob} = {_plain(knobs[knob])}"]), origin)

    def _knob(self, name: str, knob: str, module: Path) -> Origin:
        """Who sets a knob: the command line, a config, or its own default."""
        found = self.origins.of(f"protect.knobs.{name}.{knob}")
        line = field_lines(module).get(knob) if not found.file and found.text.startswith("default") else None
        return at(module, line) if line else found


def _case(case: Case) -> str:
    """Sizes, the shapes that result, and what one call takes."""
    sizes = ",".join(f"{axis}={size}" for axis, size in case.axes.items()) or "no axes"
    shapes = ", ".join(f"{t.name} {_shape(t)}" for t in (*case.inputs, *case.outputs))
    total = sum(tensor_bytes(t) for t in (*case.inputs, *case.outputs))
    work = [f"{case.work_bytes:,.0f} bytes must move"] if case.work_bytes is not None else []
    work += [f"{case.work_flops:,.0f} operations"] if case.work_flops is not None else []
    held = " held out" if case.held_out else ""
    return f"{sizes}{held}: {shapes}; tensors of a call {total:,} bytes" + "".join(f", {part}" for part in work)


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def _plain(value: Any) -> str:
    """A value as YAML would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return "null" if value is None else str(value)
