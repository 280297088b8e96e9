"""The sizes that a workload's axes take: from ranges, in every combination or as listed, and from the command line."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aisp_runner.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from aisp_runner.spec import WorkloadSpec

MAX_SIZES = 1000
"""Sizes that a range may stand for."""
MAX_CASES = 100_000
"""Cases of a workload on a device."""


def sizes(value: Sequence[int] | Mapping[str, int], where: str) -> list[int]:
    """The sizes of one axis: a list as it is, {from, to, times} or {from, to, step} written out, both ends included.

    Raises ConfigError for a range that is empty or longer than MAX_SIZES.
    """
    if not isinstance(value, Mapping):
        return list(value)
    found: list[int] = []
    size, last = value["from"], value["to"]
    while size <= last and len(found) <= MAX_SIZES:
        found.append(size)
        size = size * value["times"] if "times" in value else size + value["step"]
    if not found:
        raise ConfigError(f"{where}: from {value['from']} is above to {last}. Exchange them.")
    if len(found) > MAX_SIZES:
        raise ConfigError(f"{where}: more than {MAX_SIZES} sizes. Take a larger step, or times: 2.")
    return found


def written_out(axes: Mapping[str, Any] | Sequence[Mapping[str, int]], where: str) -> dict[str, list[int]]:
    """Sizes by axis of one device's `axes`: a mapping of axes to sizes, or a list of cases, each of which gives every axis.

    Raises ConfigError.
    """
    if isinstance(axes, Mapping):
        return _bounded({axis: sizes(value, f"{where}.{axis}") for axis, value in axes.items()}, where)
    names = list(axes[0])
    for index, case in enumerate(axes):
        if set(case) != set(names):
            raise ConfigError(f"{where}[{index}]: it gives {', '.join(case)}; {', '.join(names)} are wanted, as in the first.")
        if case in axes[:index]:
            raise ConfigError(f"{where}[{index}]: {dict(case)} is there twice. Leave one.")
    return {name: [case[name] for case in axes] for name in names}


def _bounded(found: dict[str, list[int]], where: str) -> dict[str, list[int]]:
    count = math.prod(len(values) for values in found.values())
    if count > MAX_CASES:
        raise ConfigError(
            f"{where}: {count} combinations of sizes; at most {MAX_CASES} are run. Give fewer sizes, or list the cases."
        )
    return found


def cases(spec: WorkloadSpec, device: str) -> list[dict[str, int]]:
    """The axis values of each declared case: every combination, or the cases as they are listed."""
    axes = spec.axes[device]
    combined = zip(*axes.values(), strict=True) if device in spec.listed else itertools.product(*axes.values())
    return [dict(zip(axes, values, strict=True)) for values in combined]


def overridden(spec: WorkloadSpec, device: str, asked: Mapping[str, Any]) -> WorkloadSpec:
    """The workload with the sizes of the command line for those axes that it has on this device. Raises ConfigError."""
    own = {name: sizes(value, f"axes.{name}") for name, value in asked.items() if name in spec.axes.get(device, {})}
    if not own:
        return spec
    axes = spec.axes[device] | {name: tuple(values) for name, values in own.items()}
    if device not in spec.listed:
        _bounded({name: list(values) for name, values in axes.items()}, ", ".join(f"axes.{name}" for name in own))
    if device in spec.listed and len({len(values) for values in axes.values()}) > 1:
        named = ", ".join(f"axes.{name}" for name in axes)
        raise ConfigError(
            f"{', '.join(f'axes.{name}' for name in own)}: the sizes of {spec.name} go together, case by case. "
            f"Give all of them as lists of the same length: {named}."
        )
    held_out = tuple(case for case in spec.held_out.get(device, ()) if not all(case[n] in axes[n] for n in axes))
    return dataclasses.replace(spec, axes=spec.axes | {device: axes}, held_out=spec.held_out | {device: held_out})


def refuse_unknown(asked: Mapping[str, Any], specs: Sequence[WorkloadSpec]) -> None:
    """Raises ConfigError for an axis of the command line that no chosen workload has."""
    known = sorted({axis for spec in specs for axes in spec.axes.values() for axis in axes})
    for name in asked:
        if specs and name not in known:
            raise ConfigError(
                f"axes.{name}: no chosen workload has this axis.{did_you_mean(name, known)} Axes: {', '.join(known)}."
            )
