"""Wrong variants made of a workload's own baseline, through the real line: each must be refused.

They are what a kernel gets wrong most often. tail: the last 64th of every output is not written. tile: the last 64th is shifted
by one element. half: outputs are rounded to the next smaller float. stale: what was computed at an address first is given
ever after. A workload that takes one of them has a tolerance, an input distribution or a shape that hides a fault.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aisp_runner import record, sources
from aisp_runner.audit.line import LENGTHS, MEASURE, SHORT, TRIES
from aisp_runner.case import Case, Limits, Plan, Variant
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.execute import run_plan
from aisp_runner.plan import Planner, this_machine
from aisp_runner.pool import Pool
from aisp_runner.protect import registry
from aisp_runner.report import Console
from aisp_runner.spec import VariantSpec, WorkloadSpec, load_workload

KINDS = ("tail", "tile", "half", "stale")

FLOATS = ("float64", "float32", "float16", "bfloat16")

CODE = '''"""Made by aisp audit --wrong: {baseline} of {module}.py, with a fault in each variant."""

import torch as _torch
from {module} import {baseline} as _right

_SMALLER = {{_torch.float64: _torch.float16, _torch.float32: _torch.float16}}
_SMALLER |= {{_torch.float16: _torch.float8_e4m3fn, _torch.bfloat16: _torch.float8_e4m3fn}}

_kept = {{}}


def _end(tensor):
    flat = tensor.view(-1)
    return flat[-max(2, flat.numel() // 64) :]


def _tail(given, outputs):
    before = [_end(tensor).clone() for tensor in outputs]
    made = _made(given, outputs)
    for tensor, old in zip(made, before or [_torch.zeros_like(_end(t)) for t in made]):
        _end(tensor).copy_(old)
    return made


def _tile(given, outputs):
    made = _made(given, outputs)
    for tensor in made:
        _end(tensor).copy_(_end(tensor).roll(1))
    return made


def _half(given, outputs):
    made = _made(given, outputs)
    for tensor in made:
        if tensor.dtype in _SMALLER:
            tensor.copy_(tensor.to(_SMALLER[tensor.dtype]))
    return made


def _stale(given, outputs):
    place = given[-1].data_ptr()
    if place not in _kept:
        _kept[place] = [tensor.clone() for tensor in _made(given, outputs)]
    for tensor, old in zip(outputs, _kept[place]):
        tensor.copy_(old)
    return [tensor.clone() for tensor in _kept[place]]
'''

WRITES = """

def _made(given, outputs):
    _right(*given)
    return outputs


def {kind}({given}):
    _{kind}(({given},), ({outputs}))
"""

RETURNS = """

def _made(given, outputs):
    made = _right(*given)
    return [t.contiguous() for t in (made if isinstance(made, (tuple, list)) else [made])]


def {kind}({given}):
    _outputs = _{kind}(({given},), ())
    return _outputs[0] if len(_outputs) == 1 else tuple(_outputs)
"""

Row = dict[str, Any]


def chosen(patterns: Sequence[str]) -> list[WorkloadSpec]:
    """Workloads by name, pattern or YAML file; "all" for those of this repository. Raises ConfigError for one that is none."""
    here = {path.stem: path for path in sorted((content_root() / "conf" / "workload").glob("*.yaml"))}
    found: dict[str, Path] = {}
    for pattern in patterns:
        names = fnmatch.filter(here, "*" if pattern == "all" else pattern)
        if pattern.endswith((".yaml", ".yml")):
            found[Path(pattern).stem] = Path(pattern)
        elif not names:
            raise ConfigError(
                f"--wrong: {pattern!r} is no workload.{did_you_mean(pattern, here)} Say a name, a pattern, a YAML file or all."
            )
        found |= {name: here[name] for name in names if not pattern.endswith((".yaml", ".yml"))}
    return [load_workload(path) for path in found.values()]


def rows(specs: Sequence[WorkloadSpec], device: str, folder: Path, pool: Pool) -> Iterator[Row]:
    """For each workload that runs on the device, a row for each kind of fault; `why_not` where it cannot have it."""
    for spec in specs:
        case, why = _honest(spec, device)
        if case is None:
            yield {"workload": spec.name, "device": device, "why_not": why}
            continue
        home = folder / spec.name
        kinds = [kind for kind in KINDS if not _why_not(kind, case)]
        wrong, made = _written(spec, home), dict[str, Row]()
        for again in range(TRIES):  # what could not be told is no refusal
            left = [kind for kind in kinds if kind not in made or made[kind]["status"] == "INCONCLUSIVE"]
            made |= _judged(Plan(tuple(_with(case, wrong, kind, spec) for kind in left)), home / f"run-{again}", pool, left)
        for kind in kinds:
            kept = {key: made[kind][key] for key in ("status", "reasons", "message")}
            yield {"workload": spec.name, "device": device, "kind": kind, "refused": kept["status"] == "INVALID", **kept}
        for kind in KINDS:
            if why := _why_not(kind, case):
                yield {"workload": spec.name, "device": device, "kind": kind, "why_not": why}


def _judged(plan: Plan, run_dir: Path, pool: Pool, kinds: Sequence[str]) -> dict[str, Row]:
    """The records of a plan's cases, by the kind of fault of each."""
    if not plan.cases:
        return {}
    run_plan(plan, run_dir, Console(io.StringIO()), pool)
    made = [json.loads(line) for line in (run_dir / record.FILE).read_text().splitlines()]
    return dict(zip(kinds, made, strict=True))


def line(row: Row) -> str:
    """A row in the terminal."""
    start = f"{row['workload']:32} {row['device']:5} {row.get('kind', ''):6}"
    if "why_not" in row:
        return f"{start} not made: {row['why_not']}"
    if row["refused"]:
        return f"{start} refused by {', '.join(row['reasons'])}"
    return f"{start} {'ACCEPTED' if row['status'] == 'VALID' else row['status']} {row['message']}".rstrip()


def holds(row: Row) -> bool:
    """Whether a fault was refused, or cannot be made."""
    return "why_not" in row or bool(row["refused"])


def _honest(spec: WorkloadSpec, device: str) -> tuple[Case | None, str]:
    """The first size of a workload with its baseline as the variant, or why there is none here."""
    same = VariantSpec(spec.baseline.name, spec.baseline.device, spec.baseline.returns)
    sizes = {d: {axis: values[:1] for axis, values in axes.items()} for d, axes in spec.axes.items()}
    planner = Planner(
        {"device": device, "measure": {**MEASURE, "calls": LENGTHS[device][SHORT]}, "verify": {"phase": "detect"}},
        this_machine(),
    )
    planner.protections = registry.select({"mode": "strict"})
    planner.add(dataclasses.replace(spec, optimized=(same,), axes=sizes, held_out={}))
    if not planner.cases:
        return None, planner.skips[0].reason if planner.skips else "it has no case here"
    return planner.cases[0], ""


def _why_not(kind: str, case: Case) -> str:
    if kind == "half" and not any(t.dtype in FLOATS for t in case.outputs):
        return "no output is of floats"
    if kind == "tile" and all(t.shape == () or max(t.shape, default=1) * len(t.shape) < 2 for t in case.outputs):
        return "every output is one element"
    return ""


def _written(spec: WorkloadSpec, home: Path) -> Path:
    """The wrong variants beside a copy of what they are made of."""
    home.mkdir(parents=True)
    for name in sources.describe(spec.source, spec.cuda).sha256:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(spec.source.parent / name, home / name)
    inputs, outputs = ([t.name for t in tensors] for tensors in (spec.inputs, spec.outputs))
    returns = spec.baseline.returns
    given = ", ".join(inputs if returns else inputs + outputs)
    told = "" if returns else ", ".join(outputs) + ","
    names = {"module": spec.source.stem, "baseline": spec.baseline.name, "given": given, "outputs": told}
    text = CODE.format(**names)
    text += "".join((RETURNS if returns else WRITES).format(**names, kind=kind) for kind in KINDS)
    path = home / f"{spec.source.stem}_wrong.py"
    path.write_text(text, "utf-8")
    return path


def _with(case: Case, path: Path, kind: str, spec: WorkloadSpec) -> Case:
    variant = Variant(kind, sources.describe(path, spec.cuda), kind, spec.baseline.returns)
    limits = Limits(start_seconds=max(60.0, case.limits.start_seconds), batch_seconds=case.limits.batch_seconds)
    return dataclasses.replace(case, optimized=variant, limits=limits)
