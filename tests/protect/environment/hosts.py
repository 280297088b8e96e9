"""Judges made by hand, for tests of the protections that ask the kernel about arms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aisp_runner.state import CpuReading

BASELINE, CANDIDATE, SERVER = 11, 12, 10


def judge_of(**changes: Any) -> Any:
    """One set of processes, with the ids above, on a CPU."""
    arms = {
        "baseline": SimpleNamespace(role="baseline", pid=BASELINE, pids=(BASELINE,)),
        "candidate": SimpleNamespace(role="candidate", pid=CANDIDATE, pids=(CANDIDATE,)),
    }
    cast = SimpleNamespace(
        sets=[arms],
        all=lambda: list(arms.values()),
        pids=lambda: {BASELINE, CANDIDATE},
        server=SimpleNamespace(process=SimpleNamespace(pid=SERVER)),
    )
    case = SimpleNamespace(
        threads=1, ranks=1, candidate=None, claim="kernel", demands={}, limits=SimpleNamespace(memory_gib=8.0)
    )
    fields: dict[str, Any] = {
        "arms": arms,
        "cast": cast,
        "case": case,
        "device": SimpleNamespace(name="cpu"),
        "process": 0,
        "left_running": {},
        "measured": SimpleNamespace(dropped=0, purpose="round", stamped=[], schedule=SimpleNamespace(mode="wall")),
        "readings": [],
        "batches": [],
        "staged": {"baseline": SimpleNamespace(folder="/staged/baseline")},
    }
    return SimpleNamespace(**(fields | changes))


def reading(**changes: Any) -> CpuReading:
    """A look at a quiet and steady machine, but for the changes."""
    fields: dict[str, Any] = {"clock_mhz": 2000, "load": 1, "steal_ms": 0.0, "others_busy": 0.0, "thermal_throttles": 0}
    return CpuReading(**(fields | changes))
