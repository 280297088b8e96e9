"""Who uses which GPU of this machine, and managed memory: what the judge can see of it from outside."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aisp_runner.machine import _visible

BESIDE = "AISP_BESIDE"
"""Environment variable of a lane: UUIDs of the GPUs on which other lanes of its run measure, with commas between."""

MANAGED = "/dev/nvidia-uvm"
"""The device that managed memory is mapped from."""


@dataclass(frozen=True)
class GpuUse:
    """One look at a GPU."""

    used_mib: float
    """Memory that is taken, by whomever, MiB."""
    pids: frozenset[int]
    """Compute processes on it, as far as NVML tells them."""
    beside: bool = False
    """Whether another lane of this run measures there."""


T = TypeVar("T")


def other_gpus(named: int, nvml: Any = None) -> tuple[dict[int, GpuUse], str]:
    """(use by NVML's index of all GPUs but the first `named` visible ones, why it cannot be told or "").

    nvml: what takes the place of the module pynvml.
    """

    def use(api: Any, visible: list[Any]) -> dict[int, GpuUse]:
        own = {api.nvmlDeviceGetUUID(gpu) for gpu in visible[:named]}
        every = [(i, api.nvmlDeviceGetHandleByIndex(i)) for i in range(api.nvmlDeviceGetCount())]
        return {i: _use(api, gpu) for i, gpu in every if api.nvmlDeviceGetUUID(gpu) not in own}

    found, why = _asked(use, nvml)
    return found or {}, why


def minor_numbers(named: int, nvml: Any = None) -> list[int] | None:
    """N of /dev/nvidiaN of the first `named` visible GPUs; None where NVML does not tell them."""
    return _asked(lambda api, visible: [api.nvmlDeviceGetMinorNumber(gpu) for gpu in visible[:named]], nvml)[0]


def _asked(question: Callable[[Any, list[Any]], T], nvml: Any) -> tuple[T | None, str]:
    """(the answer to a question about NVML and the visible GPUs, "") or (None, why there is none)."""
    try:
        api = nvml or importlib.import_module("pynvml")
    except ImportError:
        return None, "nvidia-ml-py is not installed, so GPUs cannot be asked: pip install nvidia-ml-py"
    try:
        api.nvmlInit()
    except api.NVMLError as error:
        return None, f"NVML does not start: {error}"
    try:
        visible, why = _visible(api)
        return (None, why) if why else (question(api, visible), "")
    except api.NVMLError as error:
        return None, f"NVML: {error}"
    finally:
        api.nvmlShutdown()


def _use(api: Any, gpu: Any) -> GpuUse:
    pids = frozenset(process.pid for process in api.nvmlDeviceGetComputeRunningProcesses(gpu))
    beside = str(api.nvmlDeviceGetUUID(gpu)) in os.environ.get(BESIDE, "").split(",")
    return GpuUse(api.nvmlDeviceGetMemoryInfo(gpu).used / 2**20, pids, beside)


def managed_bytes(pid: int, root: Path = Path("/proc")) -> int:
    """Managed memory that a process has mapped; 0 of one that has ended."""
    try:
        lines = (root / str(pid) / "maps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    ranges = [line.split(maxsplit=1)[0].split("-") for line in lines if line.endswith(MANAGED)]
    return sum(int(end, 16) - int(start, 16) for start, end in ranges)
