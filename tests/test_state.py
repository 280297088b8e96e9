"""What disturbs a measurement, read from a made-up NVML, and from made-up and real /proc files."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_machine import Nvml, root_of

from aisp_runner.state import CpuReading, CpuState, GpuReading, GpuState, mismatched, open_state, summary

OURS, THEIRS = 4242, 5151


class Card(Nvml):
    """Two GPUs of one kind, the second at a lower clock. `refuses`: NVML's answer instead, by function."""

    NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 2, 0

    class NVMLError(Exception):
        def __init__(self, text: str, value: int = 3) -> None:
            super().__init__(text)
            self.value = value

    def __init__(self) -> None:
        super().__init__()
        self.refuses: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.pids: list[int] = [OURS, THEIRS]

    def answer(self, name: str, value: Any) -> Any:
        self.asked.append(name)
        if name in self.refuses:
            raise self.refuses[name]
        return value

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "Accelerator A"

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return self.answer(f"clock {kind}", {1: (1500, 1200)[handle], 2: 2619}[kind])

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self.answer("power", 345_600)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return self.answer("temperature", 61 + sensor)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return self.answer("reasons", 0x4 | 0x40)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return self.answer("processes", [types.SimpleNamespace(pid=pid) for pid in self.pids])


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    made = Card()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    yield made
    assert made.open == 0, "NVML was shut down as often as it was started"


def opened(own: set[int]) -> GpuState:
    made = open_state("cuda", lambda: own)
    assert isinstance(made, GpuState)
    return made


# The GPU


def test_a_reading_of_the_gpu_has_clocks_power_heat_reasons_and_strangers(card: Card) -> None:
    gpu = opened({OURS})
    read = gpu.read()
    assert read.load is not None and read.load >= 1
    assert dataclasses.replace(read, load=None) == GpuReading(
        1500, 2619, 345.6, 61, ("sw_power_cap", "hw_thermal_slowdown"), 1, 700.0
    )
    assert gpu.missing == {}
    gpu.close()


def test_the_clock_alone_is_one_call_and_nvml_is_started_once(card: Card) -> None:
    gpu = opened(set())
    assert [gpu.clock_mhz(), gpu.clock_mhz()] == [1500, 1500]
    assert card.asked == ["clock 1", "clock 1"]
    assert card.open == 1
    gpu.close()
    gpu.close()
    assert gpu.clock_mhz() is None


def test_cuda_visible_devices_says_which_gpu_is_read(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    gpu = opened(set())
    assert gpu.clock_mhz() == 1200
    gpu.close()


def test_a_query_that_is_not_supported_is_none_said_in_nvmls_words_and_asked_once(card: Card) -> None:
    card.refuses["power"] = card.NVMLError("Not Supported", 3)
    gpu = opened({OURS})
    assert [gpu.read().power_w for _ in range(3)] == [None] * 3
    assert gpu.missing == {"power_w": "Not Supported"}
    assert card.asked.count("power") == 1
    assert card.asked.count("temperature") == 3
    gpu.close()


def test_a_query_that_failed_for_once_is_asked_again(card: Card) -> None:
    card.refuses["power"] = card.NVMLError("Timeout", 10)
    gpu = opened({OURS})
    assert gpu.read().power_w is None
    assert gpu.missing == {"power_w": "Timeout"}
    card.refuses.clear()
    assert gpu.read().power_w == 345.6
    gpu.close()


def test_a_function_that_this_nvml_lacks_is_missing(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Card, "nvmlDeviceGetTemperature")
    gpu = opened({OURS})
    assert gpu.read().temperature_c is None
    assert "nvmlDeviceGetTemperature" in gpu.missing["temperature_c"]
    gpu.close()


def test_a_library_that_does_not_fit_the_driver_is_no_error(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLLibraryMismatchError(Exception):
        """pynvml's, which is not an NVMLError."""

    monkeypatch.setattr(card, "NVMLLibraryMismatchError", NVMLLibraryMismatchError, raising=False)
    card.refuses["processes"] = NVMLLibraryMismatchError("does not match")
    gpu = opened({OURS})
    assert (gpu.read().other_processes, gpu.missing) == (None, {"other_processes": "does not match"})
    gpu.close()


def test_processes_are_not_counted_until_nvml_has_shown_one_of_ours(card: Card) -> None:
    card.pids = [THEIRS, 6161]
    gpu = opened({OURS})
    assert gpu.read().other_processes is None
    assert "shows no process of this run" in gpu.missing["other_processes"]
    card.pids = [THEIRS, OURS]
    assert gpu.read().other_processes == 1
    card.pids = [THEIRS]  # ours has ended
    assert (gpu.read().other_processes, gpu.missing) == (1, {})
    gpu.close()


def test_the_judge_itself_is_no_stranger(card: Card) -> None:
    card.pids = [os.getpid()]
    gpu = opened(set())
    assert gpu.read().other_processes == 0
    gpu.close()


@pytest.mark.parametrize("why", ["nvidia-ml-py is not installed", "leaves none of 2 visible", "NVML: Not Found"])
def test_without_a_gpu_everything_is_none_and_the_reason_is_said(why: str, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    if "installed" in why:
        monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-gone" if "Not Found" in why else "")
    monkeypatch.setattr(card, "nvmlDeviceGetHandleByUUID", _not_found(card), raising=False)
    gpu = opened(set())
    assert dataclasses.replace(gpu.read(), load=None) == GpuReading(None, None, None, None, None, None)
    assert gpu.clock_mhz() is None
    assert why in gpu.missing["gpu"]
    gpu.close()


def _not_found(card: Card) -> Any:
    def refuse(uuid: str) -> int:
        raise card.NVMLError("Not Found", 6)

    return refuse


@pytest.mark.parametrize("order", ["", "PCI_BUS_ID"])
def test_gpus_of_several_kinds_are_only_sure_in_the_order_of_the_bus(
    order: str, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "nvmlDeviceGetName", lambda handle: f"Accelerator {handle}", raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    gpu = opened(set())
    assert gpu.clock_mhz() == 1500
    assert ("export CUDA_DEVICE_ORDER=PCI_BUS_ID" in gpu.missing.get("gpu", "")) == (order == "")
    gpu.close()


# The CPU

CORES = sorted(os.sched_getaffinity(0))


def machine_of(
    tmp_path: Path, busy: int, steal: int = 0, mhz: float = 2000.0, throttles: int = 0, held_us: int = 0, swapped: int = 0
) -> Path:
    """/proc and /sys of a machine whose every core, also one that this process may not use, has counted so many ticks."""
    cores = [*CORES, max(CORES) + 1]
    ticks = [f"cpu{core} {busy if core in CORES else 10**9} 0 0 500 0 0 0 {steal} 7 0" for core in cores]
    info = [f"processor\t: {core}\nflags\t\t: fpu\ncpu MHz\t\t: {mhz if core in CORES else 9999.0}\n" for core in cores]
    return root_of(
        tmp_path,
        {
            "proc/stat": "\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *ticks, "intr 1 2"]),
            "proc/cpuinfo": "\n".join(info),
            "proc/loadavg": "0.52 0.58 0.59 3/512 13311\n",
            "proc/vmstat": f"pgpgin 9\npswpin {swapped}\npswpout {2 * swapped}\nnr_free_pages 5\n",
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/cpu.stat": f"usage_usec 7\nnr_throttled 3\nthrottled_usec {held_us}\n",
            **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": "performance\n" for core in CORES},
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": f"{throttles}\n",
            "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
            "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": f"{throttles}\n",
            "sys/devices/system/cpu/cpu1/topology/physical_package_id": "0\n",
        },
    )


def test_a_reading_of_the_cpu_counts_since_the_one_before(tmp_path: Path) -> None:
    cpu = CpuState(set, machine_of(tmp_path, busy=100, steal=10, throttles=3, held_us=1000))
    machine_of(tmp_path, busy=100, steal=15, mhz=2500.4, throttles=5, held_us=8500, swapped=4)
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    reading = cpu.read()
    assert reading == CpuReading(2500, 3, 5 * tick_ms * len(CORES), None, 2, 7.5, ("performance",), 12)
    assert cpu.clock_mhz() == 2500
    again = cpu.read()
    assert (again.steal_ms, again.thermal_throttles) == (0.0, 0)
    assert cpu.missing == {}
    cpu.close()


def test_time_that_no_process_of_this_run_spent_was_spent_by_others(tmp_path: Path) -> None:
    cpu = CpuState(set, machine_of(tmp_path, busy=0))
    start = time.perf_counter()
    time.sleep(0.2)
    half = int(0.5 * 0.2 * os.sysconf("SC_CLK_TCK"))
    machine_of(tmp_path, busy=half, steal=1000)
    share = cpu.read().others_busy
    expected = half / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - start)
    assert share is not None and expected - 0.15 < share < expected + 0.02  # this process worked a little, too
    assert cpu.read().others_busy is None, "too short a stretch to tell"


def test_own_work_is_not_the_work_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {CORES[0]})
    cpu = CpuState(set, machine_of(tmp_path, busy=0))
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    machine_of(tmp_path, busy=int(0.2 * os.sysconf("SC_CLK_TCK")))
    share = cpu.read().others_busy
    assert share is not None and share < 0.02


def test_this_machine_can_be_read() -> None:
    reading = open_state("cpu", set).read()
    assert isinstance(reading, CpuReading)
    assert reading.load is not None and reading.load >= 1
    assert reading.steal_ms is not None and reading.steal_ms >= 0


def test_what_the_kernel_does_not_tell_is_none_with_a_note(tmp_path: Path) -> None:
    cpu = CpuState(set, tmp_path)
    assert cpu.read() == CpuReading(None, None, None, None, None)
    assert cpu.missing["clock_mhz"] == "/proc/cpuinfo: No such file or directory"
    assert set(cpu.missing) == {"clock_mhz", "load", "steal_ms", "thermal_throttles", "swapped_pages"}


def test_an_arm_server_names_no_clock(tmp_path: Path) -> None:
    cpu = CpuState(set, root_of(tmp_path, {"proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 50.00\n"}))
    assert cpu.clock_mhz() is None
    assert cpu.missing["clock_mhz"] == "/proc/cpuinfo names no clock"


def test_a_process_of_this_run_that_has_ended_is_left_out(tmp_path: Path) -> None:
    cpu = CpuState(lambda: {2**22 + 5}, machine_of(tmp_path, busy=5))
    assert cpu.read().clock_mhz == 2000


# What readings say


@pytest.mark.parametrize(
    ("clocks", "apart"),
    [
        ({"baseline": [1980, 1980], "candidate": [1975, 1965]}, False),
        ({"baseline": [1980, 1980], "candidate": [1955, 1950]}, True),
        ({"baseline": [1000], "candidate": [1010]}, False),
        ({"baseline": [1000], "candidate": [1011]}, True),
        ({"baseline": [1000, 1000, 300], "candidate": [1000]}, False),
        ({"baseline": [1000], "candidate": [1000], "control": [900]}, True),
        ({"baseline": [1000, None], "candidate": [500, 500]}, False),
        ({"baseline": [None], "candidate": [500]}, False),
        ({"baseline": [], "candidate": [500]}, False),
        ({}, False),
    ],
)
def test_arms_are_mismatched_when_their_medians_differ_by_more_than_one_percent(
    clocks: dict[str, list[int | None]], apart: bool
) -> None:
    assert mismatched(clocks) is apart


def test_the_limit_is_a_fraction() -> None:
    assert mismatched({"baseline": [100], "candidate": [104]}, limit=0.03)
    assert not mismatched({"baseline": [100], "candidate": [104]}, limit=0.05)


def test_a_summary_has_the_range_of_each_number_and_counts_each_reason() -> None:
    readings = [
        GpuReading(1500, None, 300.0, 60, ("sw_power_cap",), 0),
        GpuReading(1400, None, 340.0, 61, ("sw_power_cap", "hw_slowdown"), 0),
        GpuReading(None, None, 320.0, 62, (), 2),
    ]
    made = summary(readings)
    assert made == {
        "readings": 3,
        "sm_clock_mhz": {"min": 1400, "median": 1450.0, "max": 1500},
        "memory_clock_mhz": None,
        "power_w": {"min": 300.0, "median": 320.0, "max": 340.0},
        "temperature_c": {"min": 60, "median": 61, "max": 62},
        "throttle_reasons": {"sw_power_cap": 2, "hw_slowdown": 1},
        "other_processes": {"min": 0, "median": 0, "max": 2},
        "power_limit_w": None,
        "load": None,
    }
    assert json.loads(json.dumps(made)) == made
    assert summary([]) == {"readings": 0}


def test_reasons_that_were_read_and_were_none_are_not_the_same_as_not_read() -> None:
    assert summary([GpuReading(1500, 1, 1.0, 1, (), 0)])["throttle_reasons"] == {}
    assert summary([GpuReading(1500, 1, 1.0, 1, None, 0)])["throttle_reasons"] is None


def test_a_summary_of_the_cpu_is_plain_json() -> None:
    made = summary([open_state("cpu", set).read()])
    assert made["readings"] == 1 and made["load"]["min"] >= 1
    assert json.loads(json.dumps(made)) == made
