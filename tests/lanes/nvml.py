"""A made-up driver with several GPUs, for tests of lanes."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

UUIDS = tuple(f"GPU-{letter * 8}-0000" for letter in "abcd")


class Nvml(types.ModuleType):
    """So many GPUs of a model; the PCI address of the GPU at place i is 0000:0i:00.0. lost: those it answers no more for."""

    NVML_ERROR_NOT_FOUND, NVML_ERROR_GPU_IS_LOST = 6, 15
    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__({6: "Not Found", 15: "GPU is lost"}.get(value, f"Error {value}"))
            self.value = value

    def __init__(self, count: int = 2, models: tuple[str, ...] = ("Accelerator A",) * 4) -> None:
        super().__init__("pynvml")
        self.__spec__ = importlib.machinery.ModuleSpec("pynvml", None)
        self.count, self.models, self.open = count, models, 0
        self.lost: set[str] = set()

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid in self.lost:
            raise self.NVMLError(15)
        if uuid not in UUIDS[: self.count]:
            raise self.NVMLError(6)
        return UUIDS.index(uuid)

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return UUIDS[handle]

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return self.models[handle].encode()

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        return SimpleNamespace(busId=f"00000000:0{handle}:00.0")

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=80 << 30, used=100 << 20)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return (9, 0)

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return 1500

    nvmlDeviceGetMaxClockInfo = nvmlDeviceGetClockInfo

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return 0


def installed(monkeypatch: pytest.MonkeyPatch, made: Nvml) -> Nvml:
    """This driver in the place of the machine's, all GPUs visible."""
    monkeypatch.setitem(sys.modules, "pynvml", made)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return made


def near(root: Path, cpulists: list[str]) -> Path:
    """A /sys that tells the cores near each GPU."""
    for index, text in enumerate(cpulists):
        folder = root / f"sys/bus/pci/devices/0000:0{index}:00.0"
        folder.mkdir(parents=True)
        (folder / "local_cpulist").write_text(text + "\n")
    return root
