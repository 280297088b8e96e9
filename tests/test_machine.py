"""The machine's facts, read from made-up /proc and /sys folders, and from a made-up NVML."""

from __future__ import annotations

import importlib.machinery
import json
import platform
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import machine


class Nvml(types.ModuleType):
    """A driver with two GPUs, the second of which does not tell its power limit."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.__spec__ = importlib.machinery.ModuleSpec("pynvml", None)
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid != "GPU-b":
            raise self.NVMLError("Not Found")
        return 1

    def nvmlDeviceGetName(self, handle: int) -> Any:
        return [b"Accelerator A", "Accelerator B"][handle]

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return (9, handle)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return types.SimpleNamespace(total=80 << 30)

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return 1500

    def nvmlDeviceGetMaxClockInfo(self, handle: int, kind: int) -> int:
        return 1980

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return 700_000

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return 0x4 | 0x40


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def root_of(tmp_path: Path, files: dict[str, str]) -> Path:
    """A file system with just these files."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


SERVER = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU 9000\nflags\t\t: fpu sse2 hypervisor\n",
    "proc/meminfo": "MemTotal:       16384 kB\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
}


def test_what_the_cpu_is_comes_from_proc_and_sys(tmp_path: Path) -> None:
    notes: dict[str, str] = {}
    facts = machine.cpu_facts(root_of(tmp_path, SERVER), notes)
    assert facts["cpu"] == "Example CPU 9000"
    assert facts["hypervisor"] is True
    assert facts["memory_bytes"] == 16 << 20
    assert facts["governor"] == "powersave"
    assert facts["cpu_quota_cores"] == 1.5
    assert notes == {}


def test_what_cannot_be_read_is_null_with_a_note_that_says_why(tmp_path: Path) -> None:
    facts = machine.facts("cpu", tmp_path)
    for key in ("cpu", "governor", "memory_bytes", "hypervisor", "clock_source"):
        assert facts[key] is None
        assert facts["missing"][key]
    assert facts["missing"]["governor"] == "scaling_governor: No such file or directory"


def test_an_arm_server_names_its_features_and_has_no_hypervisor_flag(tmp_path: Path) -> None:
    facts = machine.cpu_facts(root_of(tmp_path, {"proc/cpuinfo": "Features : fp asimd\nModel : Example Arm\n"}))
    assert (facts["cpu"], facts["hypervisor"]) == ("Example Arm", False)


@pytest.mark.parametrize("text", ["max 100000", "", "100000", "100000 0"])
def test_no_quota_is_no_number(text: str, tmp_path: Path) -> None:
    assert machine.cpu_facts(root_of(tmp_path, {"sys/fs/cgroup/cpu.max": text}))["cpu_quota_cores"] is None


def test_facts_are_plain_json_and_do_not_name_the_machine() -> None:
    text = json.dumps(machine.facts("cuda"))
    assert platform.node() not in text.replace(platform.release(), "")
    assert platform.python_version() in text


def test_the_facts_of_a_case_on_the_cpu_have_no_gpu_in_them() -> None:
    assert "gpu" not in machine.facts("cpu")


def test_a_gpu_is_described_with_its_clock_power_and_throttle_reasons(nvml: Nvml) -> None:
    facts = machine.facts("cuda")
    assert facts["gpu_count"] == 2
    assert facts["gpu"] == {
        "name": "Accelerator A",
        "capability": "9.0",
        "driver": "570.1",
        "memory_bytes": 80 << 30,
        "sm_clock_mhz": 1500,
        "sm_clock_max_mhz": 1980,
        "power_limit_w": 700.0,
        "throttle_reasons": ["sw_power_cap", "hw_thermal_slowdown"],
    }
    assert "gpu" not in facts["missing"]
    assert nvml.open == 0


@pytest.mark.parametrize("visible", ["1", "GPU-b", "1,7,0"])
def test_cuda_visible_devices_says_which_gpu_is_the_first(visible: str, nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    facts = machine.facts("cuda")
    assert (facts["gpu_count"], facts["gpu"]["name"]) == (1, "Accelerator B")
    assert facts["gpu"]["power_limit_w"] is None
    assert facts["missing"]["gpu.power_limit_w"] == "Not Supported"


def test_no_visible_gpu_is_said_with_the_variable_that_hides_it(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.gpus() == ([], "CUDA_VISIBLE_DEVICES='' leaves none of 2 visible")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-gone")
    assert machine.gpus() == ([], "NVML: Not Found")
    assert nvml.open == 0


def test_a_machine_without_nvml_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.gpus() == ([], "nvidia-ml-py is not installed, so GPUs cannot be asked")


def test_reading_the_facts_does_not_import_torch() -> None:
    code = "import sys; from aisp_runner import machine; machine.facts('cuda'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
