"""No arm is timed with a profiler, a trace hook or a debugging switch on.

A baseline under a profiler looks slow, and the difference would count as the candidate's gain. Each worker looks after each
batch whether something is on in its interpreter or in torch. What the user's shell sets never reaches a worker: its
environment is made by the judge (PASSED_ON in build.py). Blind spot: seen in the arm's own process; a hook that is set and
taken away inside each call, and a function that is slowed by hand, which only reading the baseline shows.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.worker import Worker

SWITCHES = (
    "CUDA_LAUNCH_BLOCKING",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONTRACEMALLOC",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "TORCH_LOGS",
    "TORCH_SHOW_DISPATCH_TRACE",
    "TORCH_COMPILE_DEBUG",
)
"""Environment variables that slow a process down for the sake of looking at it."""

MONITORING_TOOLS = 6
"""Ids that sys.monitoring has (Python 3.12 and later)."""


def hooks() -> list[str]:
    """What is on in this process that slows it down in order to look at it, by name."""
    import torch

    found = {
        "sys.settrace": sys.gettrace() is not None,
        "sys.setprofile": sys.getprofile() is not None,
        "threading.settrace": threading.gettrace() is not None,
        "threading.setprofile": threading.getprofile() is not None,
        "a profiler of torch": torch.autograd._profiler_enabled(),  # type: ignore[attr-defined]
        "torch.autograd.set_detect_anomaly": torch.is_anomaly_enabled(),
        "tracemalloc": "tracemalloc" in sys.modules and sys.modules["tracemalloc"].is_tracing(),
    }
    monitoring = getattr(sys, "monitoring", None)
    tools = [monitoring.get_tool(number) for number in range(MONITORING_TOOLS)] if monitoring is not None else []
    told = [f"sys.monitoring ({tool})" for tool in tools if tool is not None]
    return [name for name, on in found.items() if on] + told + [name for name in SWITCHES if os.environ.get(name)]


@dataclass(frozen=True)
class NoProfiler(Protection):
    id = "timing.no_profiler"
    covers = ("timing.profiler_overhead",)

    def worker_after_batch(self, worker: Worker) -> Evidence:
        on = hooks()
        observed = f"on: {', '.join(on)}" if on else "no profiler, trace hook or debugging switch is on"
        return self.found("after_batch", not on, observed, "none", worker.job["role"], witness="worker")
