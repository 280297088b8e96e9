"""What there is to run, and what of it runs on this machine: read straight from the YAML files.

Nothing is composed, and neither torch, Hydra nor OmegaConf is imported, so it answers in a fraction of a second. PyYAML reads
`1e-3` as a string where OmegaConf reads a number; only names, counts and questions are taken from here, never a tolerance.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner.content import shown as shown_path
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.report import clean

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Here:
    """What the machine offers to a workload."""

    gpus: int = 0
    capability: str | None = None
    """Compute capability of the first GPU, such as "9.0"; None when it is not known."""
    nvcc: bool = False
    why_no_gpu: str = ""


@dataclass(frozen=True)
class Listed:
    """One workload as its file declares it."""

    name: str
    group: str
    """Its chapter or lab, or ""."""
    path: str
    question: str
    baseline: str
    variants: dict[str, tuple[str, ...]]
    """Devices each optimized variant is declared for, by its name."""
    cases: dict[str, int]
    """Axis values (held-out ones included) by device. A device without any is not declared."""
    not_here: dict[str, str] = field(default_factory=dict)
    """Why a declared device cannot run on this machine, by device."""

    @property
    def devices(self) -> list[str]:
        """Devices of this machine it runs on."""
        return [device for device in self.cases if device not in self.not_here]

    def comparisons(self, devices: Iterable[str]) -> int:
        """Variants times cases on these devices."""
        return sum(self.cases.get(d, 0) * sum(d in on for on in self.variants.values()) for d in devices)


@dataclass(frozen=True)
class Listing:
    """Everything found, in the order it is shown."""

    titles: dict[str, str]
    """Title of each chapter and lab, by its name."""
    suites: dict[str, str]
    workloads: tuple[Listed, ...]
    unreadable: dict[str, str]
    """What is wrong with a file, by its path."""


def this_machine() -> Here:
    """What this machine offers, asked of NVML and of the search path."""
    from aisp_runner.machine import gpus

    seen, why = gpus()
    return Here(len(seen), seen[0]["capability"] if seen else None, find_nvcc() is not None, why)


def find_nvcc() -> str | None:
    """The CUDA compiler: on the search path, under CUDA_HOME or in its usual place."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    return shutil.which("nvcc") or next((found for home in homes if home and (found := shutil.which(f"{home}/bin/nvcc"))), None)


def load(folders: Sequence[Path], here: Here) -> Listing:
    """Read every workload, chapter and lab of these conf folders. A file that cannot be read is named, and stops nothing."""
    titles: dict[str, str] = {}
    suites: dict[str, str] = {}
    found: list[Listed] = []
    unreadable: dict[str, str] = {}
    for folder in folders:
        for kind, into in (("chapter", titles), ("lab", titles), ("suite", suites)):
            for path in _visible(folder / kind):
                content = _read(path, unreadable)
                if content is not None:
                    into[path.stem] = clean(content.get("title") or "")
        for path in _visible(folder / "workload"):
            content = _read(path, unreadable)
            if content is None:
                continue
            try:
                found.append(_listed(path, content, here))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                unreadable[shown_path(path)] = f"does not read as a workload ({type(error).__name__}: {error})"
    found.sort(key=lambda w: (w.group == "", w.group, w.name))
    return Listing(titles, suites, tuple(found), unreadable)


def only(listing: Listing, names: Sequence[str]) -> Listing:
    """The workloads, chapters and labs of these names. Raises ConfigError with the nearest name for one that is unknown."""
    if not names:
        return listing
    known = {w.name for w in listing.workloads} | {w.group for w in listing.workloads if w.group} | set(listing.titles)
    for name in names:
        if name not in known:
            raise ConfigError(f"{name!r} is no workload, chapter or lab.{did_you_mean(name, known)} See all of them: aisp list")
    kept = tuple(w for w in listing.workloads if w.name in names or w.group in names)
    return dataclasses.replace(listing, workloads=kept)


def as_json(listing: Listing, here: Here) -> dict[str, Any]:
    """The listing as plain JSON values."""
    return {
        "machine": {"gpus": here.gpus, "capability": here.capability, "nvcc": here.nvcc, "why_no_gpu": here.why_no_gpu},
        "groups": listing.titles,
        "suites": listing.suites,
        "workloads": [
            {
                "name": w.name, "group": w.group, "path": w.path, "question": w.question, "baseline": w.baseline,
                "variants": {name: list(devices) for name, devices in w.variants.items()},
                "cases": w.cases, "runs_on": w.devices, "not_here": w.not_here,
            }
            for w in listing.workloads
        ],
        "unreadable": listing.unreadable,
    }  # fmt: skip


def lines(listing: Listing, here: Here, width: int) -> list[tuple[str, str]]:
    """The listing as (text, style) lines of at most `width` columns, except where a single name is longer."""
    shown: list[tuple[str, str]] = []
    group: str | None = None
    column = min(max((len(w.name) for w in listing.workloads), default=0), 40) + 4
    for w in listing.workloads:
        if w.group != group:
            group = w.group
            title = "  ".join(part for part in (group, listing.titles.get(group, "")) if part) or "others"
            shown += [("", "")] if shown else []
            shown.append((title, "bold"))
        style = "" if w.devices else "dim"
        question = textwrap.wrap(clean(w.question), max(width - column, 20)) or [""]
        shown.append((f"  {w.name:<{column - 2}}{question[0]}", "cyan" if w.devices else "dim"))
        below = [*question[1:], *_wrapped(_comparison(w), width - column), *_wrapped(_where(w), width - column)]
        shown += [(" " * column + text, style) for text in below]
    total = sum(w.comparisons(DEVICES) for w in listing.workloads)
    runs = sum(w.comparisons(w.devices) for w in listing.workloads)
    summary = f"{_count(len(listing.workloads), 'workload')}, {_count(total, 'comparison')}; {runs} run here."
    shown += [("", ""), (summary, "bold")]
    if not here.gpus and any("cuda" in w.cases for w in listing.workloads):
        shown.append((f"cuda: {here.why_no_gpu or 'no GPU is visible'}. More: aisp doctor", "yellow"))
    first = next((w for w in listing.workloads if w.devices), None)
    if first:
        shown.append((f"Run one:   aisp-run +workload={first.name}", ""))
    if listing.suites:
        suite = "quick" if "quick" in listing.suites else min(listing.suites)
        shown.append((f"Run many:  aisp-run +suite={suite}    Suites: {', '.join(sorted(listing.suites))}", ""))
    return shown


def _comparison(w: Listed) -> str:
    """chunked -> vectorized, triton_add (cuda)"""
    names = [name if set(on) >= set(w.cases) else f"{name} ({', '.join(on)})" for name, on in w.variants.items()]
    return clean(f"{w.baseline} -> {', '.join(names)}")


def _where(w: Listed) -> str:
    """runs on cpu (2 cases); cuda (3 cases): needs 4 GPUs, 1 is visible"""
    runs = ", ".join(f"{d} ({_count(w.cases[d], 'case')})" for d in w.devices)
    return "; ".join([f"runs on {runs}" if runs else "does not run here", *(f"{d}: {why}" for d, why in w.not_here.items())])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _visible(folder: Path) -> list[Path]:
    """The YAML files of a folder, but those that a file browser hides too."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("."))


def _read(path: Path, unreadable: dict[str, str]) -> dict[str, Any] | None:
    import yaml

    from aisp_runner import composable, config_text, yaml_bounds

    if not composable.NAME.fullmatch(path.stem):
        unreadable[shown_path(path)] = composable.NAMES
        return None
    try:
        content = yaml_bounds.value(config_text.read(path), str(path))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        unreadable[shown_path(path)] = clean(" ".join(str(error).split()))
        return None
    if not isinstance(content, dict):
        unreadable[shown_path(path)] = "is not a mapping"
        return None
    return content


def _listed(path: Path, content: dict[str, Any], here: Here) -> Listed:
    environment = content.get("environment") or {}
    allowed = environment.get("device", "any")
    optimized = content["optimized"]
    variants: dict[str, tuple[str, ...]] = {}
    for entry in optimized if isinstance(optimized, list) else [optimized]:
        name, device = (entry, "any") if isinstance(entry, str) else (entry["name"], entry.get("device", "any"))
        variants[clean(name)] = tuple(d for d in DEVICES if device in ("any", d) and allowed in ("any", d))
    cases = {}
    for device in DEVICES:
        axes = (content.get("axes") or {}).get(device)
        held = (content.get("held_out") or {}).get(device) or []
        if (axes is not None or held) and allowed in ("any", device) and any(device in on for on in variants.values()):
            cases[device] = (math.prod(len(v) for v in axes.values()) if axes is not None else 0) + len(held)
    return Listed(
        name=path.stem,
        group=str(content.get("chapter") or content.get("lab") or ""),
        path=shown_path(path),
        question=clean(content.get("question") or ""),
        baseline=str(content["baseline"]),
        variants=variants,
        cases=cases,
        not_here={"cuda": why} if "cuda" in cases and (why := _why_not_cuda(content, environment, here)) else {},
    )


def _why_not_cuda(content: dict[str, Any], environment: dict[str, Any], here: Here) -> str:
    wanted = max(int(environment.get("gpus") or 1), int(content.get("ranks") or 1))
    if not here.gpus:
        return "no GPU"
    if here.gpus < wanted:
        return f"needs {wanted} GPUs, {here.gpus} visible"
    least = str(environment.get("min_capability") or "")
    if least and here.capability and _version(here.capability) < _version(least):
        return f"needs capability {least}, this GPU has {here.capability}"
    if content.get("cuda") and not here.nvcc:
        return "needs nvcc"
    return ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
