"""What the vendor's documents say of a GPU, dense figures only, each with its source (datasheet.json).

torch is not imported here.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner.errors import ConfigError, did_you_mean

FILE = Path(__file__).with_name("datasheet.json")
LABELS = {
    "memory_gbs": ("memory bandwidth", "GB/s"),
    "l2_mib": ("L2", "MiB"),
    "fp32_tflops": ("fp32", "TFLOP/s"),
    "tf32_tflops": ("tf32", "TFLOP/s"),
    "bf16_tflops": ("bf16", "TFLOP/s"),
    "fp16_tflops": ("fp16", "TFLOP/s"),
    "fp8_tflops": ("fp8", "TFLOP/s"),
    "fp4_tflops": ("fp4", "TFLOP/s"),
    "nvlink_gbs": ("NVLink, both directions", "GB/s"),
    "pcie_gbs": ("PCIe, both directions", "GB/s"),
}
"""What each figure is, and its unit."""
COMPARED = {
    "copy": ("memory_gbs", 1e9),
    "read": ("memory_gbs", 1e9),
    "matmul_fp32": ("fp32_tflops", 1e12),
    "matmul_tf32": ("tf32_tflops", 1e12),
    "matmul_bf16": ("bf16_tflops", 1e12),
    "matmul_fp16": ("fp16_tflops", 1e12),
    "matmul_fp8": ("fp8_tflops", 1e12),
    "h2d": ("pcie_gbs", 0.5e9),
    "d2h": ("pcie_gbs", 0.5e9),
    "peer": ("nvlink_gbs", 0.5e9),
}
"""Measured value -> (figure, one unit of it in B/s or FLOP/s). Links are printed for both directions, and measured in one."""


@dataclass(frozen=True)
class Datasheet:
    """One GPU as its vendor describes it."""

    name: str
    reported_as: tuple[str, ...]
    """Names under which drivers report exactly this GPU."""
    aliases: tuple[str, ...]
    sources: tuple[dict[str, str], ...]
    """title and url of each document."""
    printed: str
    """How the document prints rates of tensor cores."""
    figures: dict[str, float | None]
    """By the keys of LABELS; None where there is none, or none that could be verified."""
    notes: dict[str, str]
    """Why a figure is None, or what it means, by figure."""


@functools.cache
def known() -> tuple[Datasheet, ...]:
    """Every GPU in the file, in its order."""
    made = []
    for entry in json.loads(FILE.read_text("utf-8"))["gpus"]:
        lists = {name: tuple(entry[name]) for name in ("reported_as", "aliases", "sources")}
        made.append(Datasheet(**{**entry, **lists}))
    return tuple(made)


def of_gpu(reported: str) -> Datasheet | None:
    """The datasheet of a GPU by the exact name that its driver reports, or None."""
    return next((sheet for sheet in known() if reported in sheet.reported_as), None)


def stated(reported: str, value: str) -> float | None:
    """The dense datasheet figure of a measured value, in B/s or FLOP/s, or None."""
    sheet, (figure, unit) = of_gpu(reported), COMPARED.get(value, ("", 0.0))
    number = sheet.figures.get(figure) if sheet else None
    return number * unit if number else None


def find(name: str) -> Datasheet:
    """The datasheet that a person means by `name`. Raises ConfigError with the nearest name and the list."""
    spellings = {_plain(s): sheet for sheet in known() for s in (sheet.name, *sheet.aliases, *sheet.reported_as)}
    if _plain(name) in spellings:
        return spellings[_plain(name)]
    names = [sheet.name for sheet in known()]
    near = did_you_mean(_plain(name), spellings)
    meant = next((f" Did you mean '{sheet.name}'?" for s, sheet in spellings.items() if f"'{s}'" in near), "")
    raise ConfigError(f"--gpu {name!r}: no datasheet of that GPU is here.{meant} Known: {', '.join(names)}.")


def as_json(sheet: Datasheet) -> dict[str, Any]:
    """As plain JSON values, figures under the names and units of the file."""
    return {
        "name": sheet.name,
        "dense": True,
        "printed": sheet.printed,
        "figures": sheet.figures,
        "notes": sheet.notes,
        "sources": list(sheet.sources),
    }


def lines(sheet: Datasheet) -> list[tuple[str, str]]:
    """(text, style) lines: every figure with its unit and note, then the sources."""
    shown = [(f"{sheet.name}, dense figures of the vendor (printed there: {sheet.printed})", "bold")]
    column = max(len(label) for label, _ in LABELS.values()) + 2
    for figure, (label, unit) in LABELS.items():
        number, note = sheet.figures[figure], sheet.notes.get(figure, "")
        text = f"{number:>9,g} {unit:<8}" if number is not None else f"{'-':>9} {'':<8}"
        shown.append((f"  {label:<{column}}{text} {note}".rstrip(), "" if number is not None else "dim"))
    return [*shown, *((f"source: {source['title']}: {source['url']}", "dim") for source in sheet.sources)]


def _plain(name: str) -> str:
    words = name.lower().replace("-", " ").replace("_", " ").split()
    return "".join(word for word in words if word not in ("nvidia", "geforce"))
