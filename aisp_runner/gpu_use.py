"""Who uses which GPU of this machine, and managed memory: what the judge can see of it from outside."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner.machine import _visible

MANAGED = "/dev/nvidia-uvm"
"""The device that managed memory is mapped from."""


@dataclass(frozen=True)
class GpuUse:
    """One look at a GPU."""

    used_mib: float
    """Memory that is taken, by whomever, MiB."""
    pids: frozenset[int]
    """Compute processes on it, as far as NVML tells them."""


def other_gpus(named: int, nvml: Any = None) -> tuple[dict[int, GpuUse], str]:
    """(use by NVML's index of all GPUs but the first `named` visible ones, why it cannot be told or "").

    nvml: what takes the place of the module pynvml.
    """
    try:
        api = nvml or importlib.import_module("pynvml")
    except ImportError:
        return {}, "nvidia-ml-py is not installed, so GPUs cannot be asked: pip install nvidia-ml-py"
    try:
        api.nvmlInit()
    except api.NVMLError as error:
        return {}, f"NVML does not start: {error}"
    try:
        visible, why = _visible(api)
        if why:
            return {}, why
        own = {api.nvmlDeviceGetUUID(gpu) for gpu in visible[:named]}
        every = [(i, api.nvmlDeviceGetHandleByIndex(i)) for i in range(api.nvmlDeviceGetCount())]
        return {i: _use(api, gpu) for i, gpu in every if api.nvmlDeviceGetUUID(gpu) not in own}, ""
    except api.NVMLError as error:
        return {}, f"NVML: {error}"
    finally:
        api.nvmlShutdown()


def _use(api: Any, gpu: Any) -> GpuUse:
    pids = frozenset(process.pid for process in api.nvmlDeviceGetComputeRunningProcesses(gpu))
    return GpuUse(api.nvmlDeviceGetMemoryInfo(gpu).used / 2**20, pids)


def managed_bytes(pid: int, root: Path = Path("/proc")) -> int:
    """Managed memory that a process has mapped; 0 of one that has ended."""
    try:
        lines = (root / str(pid) / "maps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    ranges = [line.split(maxsplit=1)[0].split("-") for line in lines if line.endswith(MANAGED)]
    return sum(int(end, 16) - int(start, 16) for start, end in ranges)
