"""What is questionable in a workload whose every name is declared: tolerances that take anything, axes without effect, sizes
that fit nowhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from aisp_runner import expression
from aisp_runner.axes import cases
from aisp_runner.errors import ConfigError
from aisp_runner.host_memory import ITEM_BYTES
from aisp_runner.spec import TensorSpec, WorkloadSpec

ERROR, WARNING = "error", "warning"

HALF_STEP = {"float64": 2.0**-11, "float32": 2.0**-11, "float16": 2.0**-4, "bfloat16": 2.0**-4}
"""Largest relative error of rounding to the next smaller float (float16, or float8 with 3 bits), by the declared dtype."""
WIDE = ("float64", "float32")

BECAUSE_WORDS = 4
GPU_GIB = 80.0
"""Memory of the GPU that sizes are held against: that of an A100 or H100."""
CPU_GIB = 8.0
"""What one call's tensors may take on a CPU (limits.memory_gib's default)."""
MANY = 500


@dataclass(frozen=True)
class Finding:
    """One remark on a file."""

    rule: str
    path: str
    """The key it is about, dotted: outputs.c.rtol."""
    severity: str
    message: str


def judge(spec: WorkloadSpec, gpu_gib: float = GPU_GIB) -> Iterator[Finding]:
    """Everything questionable that a workload declares."""
    for tensor in spec.outputs:
        yield from _because(tensor)
        yield from _tolerance(tensor, spec)
    yield from _axes(spec)
    yield from _work(spec)
    yield from _sizes(spec, gpu_gib)


def _because(tensor: TensorSpec) -> Iterator[Finding]:
    if (tensor.rtol or tensor.atol) and len(tensor.because.split()) < BECAUSE_WORDS:
        what = "no reason" if not tensor.because else f"the reason '{tensor.because}'"
        message = f"{what} for a tolerance. Say in {BECAUSE_WORDS} words or more which roundings make that error."
        yield Finding("missing-because", f"outputs.{tensor.name}.because", ERROR, message)


def _tolerance(tensor: TensorSpec, spec: WorkloadSpec) -> Iterator[Finding]:
    """A relative tolerance that a cheaper precision passes. Where inputs are already of that precision it may have to be so."""
    where = f"outputs.{tensor.name}.rtol"
    if tensor.rtol >= 0.5:
        yield Finding(
            "vacuous-tolerance", where, ERROR, f"rtol {tensor.rtol:g} takes answers that are off by half. Tighten it."
        )
        return
    limit = HALF_STEP.get(tensor.dtype)
    floats = {t.dtype for t in spec.inputs if "float" in t.dtype}
    narrow = tensor.dtype in WIDE and any(dtype not in WIDE for dtype in floats)
    if limit is not None and not narrow and tensor.rtol >= limit:
        smaller = "half-precision" if tensor.dtype in WIDE else "8-bit"
        message = f"rtol {tensor.rtol:g} takes a {smaller} answer (error up to {limit:.1e}) where {tensor.dtype} is declared."
        yield Finding("vacuous-tolerance", where, ERROR, f"{message} Tighten it, or declare the smaller dtype.")


def _axes(spec: WorkloadSpec) -> Iterator[Finding]:
    used: set[str] = set()
    for tensor in (*spec.inputs, *spec.outputs):
        for size in tensor.shape:
            used |= set(expression.names(size, f"{tensor.name}.shape"))
    for device, axes in spec.axes.items():
        for axis, sizes in axes.items():
            if axis not in used:
                message = f"no shape has '{axis}', so all its sizes ({len(sizes)}) make the same case. Use or remove it."
                yield Finding("unused-axis", f"axes.{device}.{axis}", ERROR, message)
        count = len(cases(spec, device)) * len(spec.optimized)
        if count > MANY:
            message = f"{count} comparisons: every combination of sizes, times {len(spec.optimized)} variants. Leave some out."
            yield Finding("many-cases", f"axes.{device}", WARNING, message)


def _work(spec: WorkloadSpec) -> Iterator[Finding]:
    """Declared work that no size has a value for."""
    for key, value in (("bytes", spec.work_bytes), ("flops", spec.work_flops)):
        try:
            for device in spec.axes:
                for case in _some(spec, device):
                    expression.work(value, case, f"work.{key}", device)
        except ConfigError as error:
            yield Finding("arithmetic", f"work.{key}", ERROR, str(error))


def _some(spec: WorkloadSpec, device: str) -> list[dict[str, int]]:
    """The first cases on a device, and the held-out ones."""
    return [*cases(spec, device)[:MANY], *spec.held_out.get(device, ())]


def _sizes(spec: WorkloadSpec, gpu_gib: float) -> Iterator[Finding]:
    """Cases that are skipped wherever they are run, since one call's tensors do not fit."""
    for device in spec.axes:
        room = gpu_gib / 2 if device == "cuda" else CPU_GIB
        what = f"half of a GPU's {gpu_gib:g} GiB" if device == "cuda" else f"the {CPU_GIB:g} GiB of limits.memory_gib"
        told = ""
        for case in _some(spec, device):
            try:
                gib = sum(_bytes(tensor, case, device) for tensor in (*spec.inputs, *spec.outputs)) / 2**30
            except (ConfigError, OverflowError) as error:
                yield Finding("shape", f"axes.{device}", ERROR, str(error))
                return
            if gib > room and not told:
                told = ", ".join(f"{axis}={size}" for axis, size in case.items())
                message = f"one call's tensors take {gib:.1f} GiB at {told}, more than {what}: such a case is skipped."
                yield Finding("too-large", f"axes.{device}", WARNING, message)


def _bytes(tensor: TensorSpec, case: dict[str, int], device: str) -> int:
    return math.prod(expression.shape(tensor.shape, case, f"{tensor.name}.shape", device)) * ITEM_BYTES[tensor.dtype]


def as_json(finding: Finding) -> dict[str, str]:
    """A finding as plain values."""
    return dataclasses.asdict(finding)
