"""What disturbs a measurement, read by the judge between batches: clocks, power, heat, and who else is at work.

Read, never set (clock_lock.py sets). What cannot be read is None and has a line under `missing` that says why; it ends nothing.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aisp_runner.errors import DeviceError
from aisp_runner.host import governors, throttled_ms
from aisp_runner.machine import ROOT, THROTTLE_REASONS, _visible
from aisp_runner.system import cpu_ns

LIMIT = 0.01
"""How far the clocks of a round's arms may lie apart, as a fraction."""

BUSY_SECONDS = 0.1
"""Shortest stretch whose busy share is told, s. /proc/stat counts in ticks of 10 ms."""

LASTING = (2, 3, 4, 13)
"""NVML's errors that asking again does not mend: invalid argument, not supported, no permission, function not found."""


@dataclass(frozen=True)
class GpuReading:
    """One look at the GPU."""

    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    power_w: float | None
    temperature_c: int | None
    throttle_reasons: tuple[str, ...] | None
    """Why the clocks are not higher, in the names of machine.THROTTLE_REASONS."""
    other_processes: int | None
    """Compute processes on the GPU that are not of this run. None where NVML does not show this run's own either."""
    power_limit_w: float | None = None
    """What the board may draw."""
    load: int | None = None
    """Tasks that want a core of the host now, the judge among them."""


@dataclass(frozen=True)
class CpuReading:
    """One look at the CPU. What is counted is counted since the reading before."""

    clock_mhz: int | None
    """Mean over the cores that this run may use."""
    load: int | None
    """Tasks that want a core now, on the whole machine, the judge among them."""
    steal_ms: float | None
    """Time that the hypervisor kept from this run's cores, ms, summed over them, in ticks of 10 ms."""
    others_busy: float | None
    """Share of these cores' time that went to other processes and to interrupts, 0 to 1. None for less than BUSY_SECONDS."""
    thermal_throttles: int | None
    """Times that a CPU package lowered its clock for heat."""
    throttled_ms: float | None = None
    """Time for which the CPU quota of this run's control group kept it from running, ms. None without a quota."""
    governors: tuple[str, ...] | None = None
    """The different frequency governors of this run's cores."""
    swapped_pages: int | None = None
    """Pages that the machine moved to or from swap."""


Reading = GpuReading | CpuReading

Number = TypeVar("Number", int, float)


def open_state(device: str, own_pids: Callable[[], set[int]]) -> GpuState | CpuState:
    """What reads the state of "cuda" or "cpu". own_pids: the process ids of this run, asked at each reading."""
    return GpuState(own_pids) if device == "cuda" else CpuState(own_pids)


# The GPU


def first_gpu(nvml: Any = None) -> tuple[Any, Any]:
    """(NVML, started, and its handle of CUDA device 0 of this process). The caller calls nvmlShutdown.

    nvml: what takes the place of the module pynvml. Raises DeviceError where there is none, with the reason.
    """
    try:
        api = nvml or importlib.import_module("pynvml")
    except ImportError:
        raise DeviceError("nvidia-ml-py is not installed, so GPUs cannot be asked: pip install nvidia-ml-py") from None
    try:
        api.nvmlInit()
    except api.NVMLError as error:
        raise DeviceError(f"NVML does not start: {error}") from None
    try:
        handles, why = _visible(api)
    except api.NVMLError as error:
        handles, why = [], f"NVML: {error}"
    if not handles:
        api.nvmlShutdown()
        raise DeviceError(why)
    return api, handles[0]


def ambiguity(nvml: Any) -> str:
    """Why CUDA device 0 may be another GPU than NVML's, or "". CUDA counts the fastest first, NVML goes by the bus."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or chosen.startswith(("GPU-", "MIG-")):
        return ""
    try:
        names = {str(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i))) for i in range(nvml.nvmlDeviceGetCount())}
    except nvml.NVMLError as error:
        return f"NVML does not name all GPUs: {error}"
    if len(names) == 1:
        return ""
    return "GPUs of several kinds are here, and CUDA may order them unlike NVML: export CUDA_DEVICE_ORDER=PCI_BUS_ID"


class GpuState:
    """Readings of the GPU that CUDA device 0 of this process is, or of the first few together where ranks have one each: the
    lowest clock and power limit, the highest power and temperature, and whatever holds any of them back. Where NVML is
    missing, every field is None.
    """

    def __init__(self, own_pids: Callable[[], set[int]], nvml: Any = None) -> None:
        self.missing: dict[str, str] = {}
        self._own_pids = own_pids
        self._given_up: set[str] = set()
        self._pids_seen = False
        self._nvml: Any = None
        try:
            self._nvml, first = first_gpu(nvml)
        except DeviceError as why:
            self.missing["gpu"] = str(why)
            return
        self._handles = [first]
        if unsure := ambiguity(self._nvml):
            self.missing["gpu"] = unsure

    def watch(self, gpus: int) -> None:
        """From now on reads the first so many visible GPUs; none, where NVML does not show them all, and `missing` says so."""
        if self._nvml is None or gpus == len(self._handles):
            return
        self.missing.pop("gpus", None)
        try:
            handles, why = _visible(self._nvml)
        except self._nvml.NVMLError as error:
            handles, why = [], str(error)
        self._handles = handles[:gpus] if len(handles) >= gpus else []
        if not self._handles:
            self.missing["gpus"] = f"NVML shows {len(handles)} of {gpus} GPUs{why and f': {why}'}"

    def clock_mhz(self) -> int | None:
        """The SM clock now, MHz: one call of NVML a GPU."""
        return _of(min, self._ask("sm_clock_mhz", lambda api, gpu: api.nvmlDeviceGetClockInfo(gpu, api.NVML_CLOCK_SM)))

    def read(self) -> GpuReading:
        """Everything at once: seven calls of NVML a GPU."""
        memory = self._ask("memory_clock_mhz", lambda api, gpu: api.nvmlDeviceGetClockInfo(gpu, api.NVML_CLOCK_MEM))
        power = _of(max, self._ask("power_w", lambda api, gpu: api.nvmlDeviceGetPowerUsage(gpu)))
        heat = self._ask("temperature_c", lambda api, gpu: api.nvmlDeviceGetTemperature(gpu, api.NVML_TEMPERATURE_GPU))
        limit = _of(min, self._ask("power_limit_w", lambda api, gpu: api.nvmlDeviceGetEnforcedPowerLimit(gpu)))
        bits = self._ask("throttle_reasons", lambda api, gpu: api.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
        held = tuple(name for bit, name in THROTTLE_REASONS.items() if any(b & bit for b in bits)) if bits else None
        return GpuReading(
            sm_clock_mhz=self.clock_mhz(),
            memory_clock_mhz=_of(min, memory),
            power_w=None if power is None else power / 1000,
            temperature_c=_of(max, heat),
            throttle_reasons=held,
            other_processes=self._others(),
            power_limit_w=None if limit is None else limit / 1000,
            load=runnable(),
        )

    def close(self) -> None:
        """Shuts NVML down. Safe to call twice; readings after it are None."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    def _others(self) -> int | None:
        """Processes of others, once NVML has shown one of this run's own: in a container it may show none, or foreign ids."""
        seen = self._ask(
            "other_processes", lambda api, gpu: {process.pid for process in api.nvmlDeviceGetComputeRunningProcesses(gpu)}
        )
        if not seen:
            return None
        pids = set[int]().union(*seen)
        own = self._own_pids() | {os.getpid()}
        if pids & own:
            self._pids_seen = True
            self.missing.pop("other_processes", None)
        elif not self._pids_seen:
            self.missing["other_processes"] = "NVML shows no process of this run, as in a container or before its first kernel"
            return None
        return len(pids - own)

    def _ask(self, key: str, question: Callable[[Any, Any], Any]) -> list[Any] | None:
        """An answer for each GPU, or None where one has none. A question that NVML will never answer is asked once."""
        if self._nvml is None or key in self._given_up:
            return None
        mismatch = getattr(self._nvml, "NVMLLibraryMismatchError", self._nvml.NVMLError)
        try:
            return [question(self._nvml, handle) for handle in self._handles]
        except (self._nvml.NVMLError, mismatch, AttributeError) as error:
            self.missing[key] = str(error)
            if not isinstance(error, self._nvml.NVMLError) or getattr(error, "value", None) in LASTING:
                self._given_up.add(key)
            return None


def _of(choose: Callable[[list[Any]], Any], answers: list[Any] | None) -> Any:
    """One number for several GPUs; None where one of them has none."""
    return choose(answers) if answers else None


# The CPU


@dataclass(frozen=True)
class _Counted:
    """What the kernel has counted up to a moment."""

    at_ns: int
    busy_ms: dict[int, float] = field(default_factory=dict)
    """By core: time not spent idle, without what the hypervisor kept."""
    steal_ms: dict[int, float] = field(default_factory=dict)
    own_ms: dict[int, float] = field(default_factory=dict)
    """CPU time by process of this run."""
    throttles: int | None = None
    throttled_ms: float | None = None
    swapped: int | None = None


class CpuState:
    """Readings of the CPU cores that this run may use: the judge's, and those of its other processes."""

    def __init__(self, own_pids: Callable[[], set[int]], root: Path = ROOT) -> None:
        self.missing: dict[str, str] = {}
        self._own_pids, self._root = own_pids, root
        self._tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
        self._throttle_files = _throttle_files(root)
        if not self._throttle_files:
            self.missing["thermal_throttles"] = "/sys has no thermal_throttle"
        self._before = self._busy_from = self._counted()

    def clock_mhz(self) -> int | None:
        """The clock of this run's cores now, MHz: their mean in /proc/cpuinfo."""
        cores, clocks = self._cores(self._pids()), []
        for block in self._text("proc/cpuinfo", "clock_mhz").split("\n\n"):
            at = block.find("\ncpu MHz")
            if at >= 0 and int(block[: block.index("\n")].partition(":")[2]) in cores:  # the first line is "processor : 0"
                clocks.append(float(block[at:].split("\n", 2)[1].partition(":")[2]))
        if not clocks:
            self.missing.setdefault("clock_mhz", "/proc/cpuinfo names no clock")
        return round(statistics.fmean(clocks)) if clocks else None

    def read(self) -> CpuReading:
        """Everything at once."""
        before, now = self._before, self._counted()
        cores = self._cores(set(now.own_ms)) & now.busy_ms.keys() & before.busy_ms.keys()
        reading = CpuReading(
            clock_mhz=self.clock_mhz(),
            load=self._load(),
            steal_ms=sum(now.steal_ms[core] - before.steal_ms[core] for core in cores) if cores else None,
            others_busy=self._others_busy(now, cores),
            thermal_throttles=_since(before.throttles, now.throttles),
            throttled_ms=_since(before.throttled_ms, now.throttled_ms),
            governors=governors(cores, self._root),
            swapped_pages=_since(before.swapped, now.swapped),
        )
        self._before = now
        return reading

    def close(self) -> None:
        """Nothing is held open."""

    def _others_busy(self, now: _Counted, cores: set[int]) -> float | None:
        start = self._busy_from
        passed_ms = (now.at_ns - start.at_ns) / 1e6
        if not cores or passed_ms < BUSY_SECONDS * 1000:
            return None
        self._busy_from = now
        busy = sum(now.busy_ms[core] - start.busy_ms[core] for core in cores)
        own = sum(ms - start.own_ms.get(pid, 0.0) for pid, ms in now.own_ms.items())
        return round(min(1.0, max(0.0, (busy - own) / (passed_ms * len(cores)))), 4)

    def _counted(self) -> _Counted:
        counted = _Counted(
            time.perf_counter_ns(),
            own_ms=self._own_ms(),
            throttles=self._throttles(),
            throttled_ms=throttled_ms(self._root),
            swapped=self._swapped(),
        )
        for line in self._text("proc/stat", "steal_ms").splitlines():
            name, _, rest = line.partition(" ")
            if not name.startswith("cpu"):
                break
            if name != "cpu":
                user, nice, system, _, _, irq, softirq, steal = (int(ticks) for ticks in rest.split()[:8])
                counted.busy_ms[int(name[3:])] = (user + nice + system + irq + softirq) * self._tick_ms
                counted.steal_ms[int(name[3:])] = steal * self._tick_ms
        return counted

    def _swapped(self) -> int | None:
        """Pages in and out since the machine started: pswpin and pswpout of /proc/vmstat."""
        words = self._text("proc/vmstat", "swapped_pages").split()
        moved = [int(count) for name, count in zip(words[::2], words[1::2], strict=False) if name in ("pswpin", "pswpout")]
        return sum(moved) if moved else None

    def _pids(self) -> set[int]:
        return self._own_pids() | {os.getpid()}

    def _own_ms(self) -> dict[int, float]:
        spent = {}
        for pid in self._pids():
            try:
                spent[pid] = cpu_ns(pid) / 1e6
            except ProcessLookupError:
                continue  # it has ended
        return spent

    def _cores(self, pids: set[int]) -> set[int]:
        cores: set[int] = set()
        for pid in pids:
            try:
                cores |= os.sched_getaffinity(pid)
            except ProcessLookupError:
                continue
        return cores

    def _load(self) -> int | None:
        """Runnable tasks."""
        load = runnable(self._root)
        if load is None:
            self.missing["load"] = "/proc/loadavg cannot be read"
        return load

    def _throttles(self) -> int | None:
        try:
            return sum(int(path.read_text()) for path in self._throttle_files) if self._throttle_files else None
        except (OSError, ValueError) as error:
            self.missing["thermal_throttles"] = str(error)
            return None

    def _text(self, name: str, key: str) -> str:
        try:
            return (self._root / name).read_text("utf-8", "replace").strip()
        except OSError as error:
            self.missing[key] = f"/{name}: {error.strerror}"
            return ""


def runnable(root: Path = ROOT) -> int | None:
    """Tasks that want a core now, on the whole machine: the number before the slash in /proc/loadavg, "0.52 0.58 0.59 2/512
    13311". None where that cannot be read.
    """
    try:
        words = (root / "proc/loadavg").read_text("utf-8", "replace").split()
    except OSError:
        return None
    return int(words[3].partition("/")[0]) if len(words) > 3 else None


def _since(before: Number | None, now: Number | None) -> Number | None:
    """What was counted between two looks; None where one of them told nothing."""
    return None if before is None or now is None else max(now - before, type(now)(0))


def _throttle_files(root: Path) -> list[Path]:
    """package_throttle_count of one core of each CPU package."""
    found: dict[str, Path] = {}
    for core in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*")):
        path, package = core / "thermal_throttle/package_throttle_count", core / "topology/physical_package_id"
        if path.is_file():
            found.setdefault(package.read_text().strip() if package.is_file() else "", path)
    return list(found.values())


# What readings say


def mismatched(clocks_by_arm: Mapping[str, Sequence[int | None]], limit: float = LIMIT) -> bool:
    """Whether the arms of a round ran at clocks whose medians differ by more than `limit`.

    False, "not measured", where a clock is None or an arm has none.
    """
    if not all(clocks and None not in clocks for clocks in clocks_by_arm.values()):
        return False
    middle = [statistics.median(clock for clock in clocks if clock is not None) for clocks in clocks_by_arm.values()]
    return bool(middle) and max(middle) > (1 + limit) * min(middle)


def summary(readings: Sequence[Reading]) -> dict[str, Any]:
    """How many readings, {min, median, max} of each number over those that have it (None where none has), and of names
    (throttle reasons, governors) how many readings had each. Plain JSON values.
    """
    made: dict[str, Any] = {"readings": len(readings)}
    for each in dataclasses.fields(readings[0]) if readings else ():
        values = [value for reading in readings if (value := getattr(reading, each.name)) is not None]
        if not values:
            made[each.name] = None
        elif isinstance(values[0], tuple):
            made[each.name] = dict(Counter(name for names in values for name in names))
        else:
            made[each.name] = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return made
