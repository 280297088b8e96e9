"""Who uses the other GPUs, as a made-up NVML tells it, and managed memory in a list of mappings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.gpu_use import BESIDE, GpuUse, managed_bytes, minor_numbers, other_gpus


class Nvml:
    """So many GPUs of which each has 100 MiB taken and, but for the first, a process 10 + index."""

    class NVMLError(Exception):
        """As pynvml's."""

    def __init__(self, count: int, broken: str = "") -> None:
        self.count, self.broken, self.opened = count, broken, 0

    def nvmlInit(self) -> None:
        if self.broken == "init":
            raise self.NVMLError("driver not loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return int(uuid.removeprefix("GPU-"))

    def nvmlDeviceGetUUID(self, index: int) -> str:
        return f"GPU-{index}"

    def nvmlDeviceGetMinorNumber(self, index: int) -> int:
        return self.count - 1 - index

    def nvmlDeviceGetComputeRunningProcesses(self, index: int) -> list[Any]:
        if self.broken == "processes":
            raise self.NVMLError("Not Supported")
        return [SimpleNamespace(pid=10 + index)] if index else []

    def nvmlDeviceGetMemoryInfo(self, index: int) -> Any:
        return SimpleNamespace(used=100 << 20)


@pytest.mark.parametrize(
    ("visible", "named", "others"),
    [(None, 1, {1, 2, 3}), (None, 2, {2, 3}), ("2,3", 1, {0, 1, 3}), ("GPU-3", 1, {0, 1, 2})],
    ids=["all visible", "two named", "by number", "by uuid"],
)
def test_others_are_all_but_the_first_visible_ones(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, named: int, others: set[int]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = Nvml(4)
    found, why = other_gpus(named, nvml)
    assert (set(found), why, nvml.opened) == (others, "", 0)
    assert all(use == GpuUse(100.0, frozenset([10 + gpu] if gpu else [])) for gpu, use in found.items())


@pytest.mark.parametrize(("broken", "why"), [("init", "NVML does not start"), ("processes", "NVML: Not Supported")])
def test_what_nvml_does_not_tell_is_said(broken: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = Nvml(2, broken)
    found, said = other_gpus(1, nvml)
    assert found == {} and why in said and nvml.opened == 0


def test_a_machine_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert other_gpus(1, Nvml(0)) == ({}, "NVML counts no GPU")


def test_managed_memory_is_what_is_mapped_from_its_device(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "maps").write_text(
        "7f0000000000-7f0000200000 rw-s 7f0000000000 00:05 91 /dev/nvidia-uvm\n"
        "7f0000400000-7f0000500000 rw-s 7f0000400000 00:05 91 /dev/nvidia-uvm\n"
        "7f0000600000-7f0000700000 rw-s 00000000 00:05 92 /dev/nvidiactl\n"
        "7f0000800000-7f0000900000 rw-p 00000000 00:00 0\n"
    )
    assert managed_bytes(7, tmp_path) == 3 << 20
    assert managed_bytes(8, tmp_path) == 0


def test_the_device_file_is_the_one_that_nvml_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert minor_numbers(1, Nvml(4)) == [1] and minor_numbers(2, Nvml(4)) == [1, 3]
    assert minor_numbers(1, Nvml(4, "init")) is None


def test_gpus_on_which_other_lanes_measure_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(BESIDE, "GPU-2,GPU-3")
    assert {index: use.beside for index, use in other_gpus(1, Nvml(4))[0].items()} == {1: False, 2: True, 3: True}
