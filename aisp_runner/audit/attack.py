"""One attack file, as its plain assignments describe it, read from its syntax tree. A worker runs its code; this does not.

| name | meaning, default |
|---|---|
| `issue` | the validity issue it is an instance of |
| `expect` | the protection that must refuse it; `verify-record`; or `processes`: nothing to reach, since processes are apart |
| `workload` | what it is staged on: tests/attacks/workloads/<name>.yaml (`atan2`) |
| `returns` | its functions return their outputs (False) |
| `claim` | kernel or wall (as the workload says) |
| `gains` | False: it is alive when it is accepted, gain or not (True) |
| `tolerance` | added to `atol` while the candidate runs (0) |
| `sizes` | axes by device, instead of the workload's: {"cuda": {"n": 4096}} ({}) |
| `held_out` | the workload's held-out cases are run too (False) |
| `cases` | so many cases, each with its first axis 64 longer than the one before (1) |
| `measure` | fields of Measure ({}) |
| `unprotected` | off: alive under protect=off; or in one process with one comparison, timed as TIMERS says below (off) |
| `prevented` | it may be accepted if it gains nothing, because `expect` leaves it nothing to reach (False) |
| `without` | protections left out of every trial, so that the one behind them is tried ([]) |
| `devices`, `because` | where it can be staged, and why not elsewhere ("cpu cuda", "") |
| `gpus` | GPUs that it needs on cuda, one a rank (1) |
| `target` | a file that its text `@TARGET@` stands for: plan, reference or "" |

Functions: `candidate` and `twin`; `baseline` where it brings its own; where the attack is a condition and not a kernel,
`stage(world)` and `twin_stage(world)`, which are ours and run in the judge's process (see stage.py).
"""

from __future__ import annotations

import ast
import dataclasses
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from aisp_runner import machine
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError, did_you_mean

TIMERS = ("naive", "events", "profiler")
"""Timers of tests/attacks/naive.py: the wall clock, CUDA events, the sum of the kernels' times."""

PREVENTED = "processes"
"""`expect` of an attack that gains nothing by construction."""

VERIFIER = "verify-record"
"""`expect` of an attack on a record that has been written."""


@dataclass(frozen=True)
class Attack:
    """What an attack file says of itself; the module's docstring has the meanings."""

    path: Path
    issue: str
    expect: str
    workload: str = "atan2"
    returns: bool = False
    claim: str = ""
    gains: bool = True
    tolerance: float = 0.0
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    held_out: bool = False
    cases: int = 1
    measure: dict[str, Any] = field(default_factory=dict)
    unprotected: str = "off"
    prevented: bool = False
    without: list[str] = field(default_factory=list)
    devices: str = "cpu cuda"
    because: str = ""
    gpus: int = 1
    target: str = ""
    functions: frozenset[str] = frozenset()
    """Names of the functions that the file defines at its top."""

    @property
    def staged(self) -> bool:
        """Whether it is a condition that the judge's process sets up."""
        return "stage" in self.functions

    @property
    def name(self) -> str:
        """Unlike its issue, no other attack has it: category/stem of its file."""
        return f"{self.path.parent.name}/{self.path.stem}"

    def why_not(self, device: str, gpus: int | None = None) -> str:
        """Why it cannot be staged on a device, or "". gpus: how many there are, by default those that are visible here."""
        if device not in self.devices.split():
            return f"{self.issue} can be staged on {self.devices} alone: {self.because}"
        if device == "cuda" and self.gpus > 1:
            there = visible_gpus() if gpus is None else gpus
            if there < self.gpus:
                return (
                    f"{self.issue} needs {self.gpus} GPUs on cuda, one a rank, and {there} can be seen (CUDA_VISIBLE_DEVICES)"
                )
        return ""


@cache
def visible_gpus() -> int:
    """How many GPUs this process may use."""
    return len(machine.gpus()[0])


KNOWN = tuple(f.name for f in dataclasses.fields(Attack) if f.name not in ("path", "functions"))


def read(path: Path) -> Attack:
    """The attack of a file. Raises ConfigError for one without issue or expectation."""
    tree = ast.parse(path.read_text("utf-8"), str(path))
    said: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in KNOWN:
            said[node.targets[0].id] = ast.literal_eval(node.value)
    if said.get("unprotected", "off") not in ("off", *TIMERS):
        allowed = ", ".join(("off", *TIMERS))
        raise ConfigError(f"{path}: unprotected = {said['unprotected']!r} is no way to be alive. Allowed: {allowed}.")
    functions = frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    named = {node.targets[0].id for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    for key in ("issue", "expect"):
        if key not in said:
            raise ConfigError(f"{path}: an attack says `{key}` in a plain assignment, and this file does not.")
    for function in ("candidate", "twin"):
        if function not in functions | named and "stage" not in functions:
            raise ConfigError(f"{path}: there is no function {function}. An attack has `candidate` and its honest `twin`.")
    return Attack(path=path, functions=functions | (named & {"candidate", "twin", "baseline"}), **said)


def folder() -> Path:
    """Where the attacks lie. Raises ConfigError where they were not shipped."""
    found = content_root() / "tests" / "attacks"
    if not found.is_dir():
        raise ConfigError("the attacks lie in tests/attacks of the repository, and this installation has none. Use a checkout.")
    return found


def attacks(device: str = "", category: str = "", issue: str = "") -> list[Attack]:
    """Every attack, in the order of its path: of a device, a category, an issue. Raises ConfigError where none is left."""
    every = [read(p) for p in sorted(folder().glob("*/*.py")) if p.name != "__init__.py" and p.parent.name != "workloads"]
    found = [
        a
        for a in every
        if (not device or not a.why_not(device))
        and category in ("", a.issue.partition(".")[0], a.path.parent.name)
        and issue in ("", a.issue, a.issue.partition(".")[2])
    ]
    if not found and (category or issue):
        asked, known = (issue, [a.issue for a in every]) if issue else (category, [a.path.parent.name for a in every])
        raise ConfigError(f"no attack is of '{asked}'.{did_you_mean(asked, known)} There are: {', '.join(sorted(set(known)))}.")
    return found
