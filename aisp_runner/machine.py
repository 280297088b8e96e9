"""The machine as a record tells it: what a reader needs to judge a time, and nothing that names its owner.

No host name, no user, no address, no serial number. torch is not imported, nothing is set. A fact that cannot be read is null
and has a line under "missing" that says why.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path("/")
"""Where /proc and /sys are looked for."""

THROTTLE_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""NVML's bits for why the clocks are not higher (nvmlClocksEventReasons)."""

PACKAGES = ("torch", "triton", "numpy")


def facts(device: str, root: Path = ROOT) -> dict[str, Any]:
    """The facts of this machine for a case on "cpu" or "cuda", as plain JSON values; keys end in their unit."""
    missing: dict[str, str] = {}
    info = cpu_facts(root, missing)
    info |= {"kernel": platform.release(), "python": platform.python_version()}
    info |= {package: _version(package, missing) for package in PACKAGES}
    if device != "cpu":
        seen, why = gpus()
        info["gpu_count"] = len(seen)
        info["gpu"] = seen[0] if seen else None
        if len(seen) > 1:
            info["other_gpus"] = seen[1:]
        if why:
            missing["gpu"] = why
        for number, gpu in enumerate(seen):
            where = f"other_gpus[{number - 1}]" if number else "gpu"
            missing |= {f"{where}.{key}": note for key, note in gpu.pop("missing").items()}
    info["missing"] = missing
    return info


def cpu_facts(root: Path = ROOT, missing: dict[str, str] | None = None) -> dict[str, Any]:
    """CPU, memory and what disturbs a clock on them; notes on what could not be read go into `missing`."""
    notes: dict[str, str] = {} if missing is None else missing
    cpuinfo = _read(root / "proc/cpuinfo", "cpu", notes) or ""
    flags = _field(cpuinfo, "flags") or _field(cpuinfo, "Features")
    model = _field(cpuinfo, "model name") or _field(cpuinfo, "Model")
    if not model:
        notes.setdefault("cpu", "/proc/cpuinfo names no model")
    if flags is None:
        notes["hypervisor"] = "/proc/cpuinfo has no flags"
    total = _field(_read(root / "proc/meminfo", "memory_bytes", notes) or "", "MemTotal")
    quota = _read(root / "sys/fs/cgroup/cpu.max", "cpu_quota_cores", notes)
    return {
        "cpu": model or None,
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu_quota_cores": _quota_cores(quota),
        "governor": _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "governor", notes),
        "clock_source": _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource", "clock_source", notes),
        "hypervisor": None if flags is None else "hypervisor" in flags.split(),
        "memory_bytes": int(total.split()[0]) * 1024 if total else None,
    }


def gpus() -> tuple[list[dict[str, Any]], str]:
    """The NVIDIA GPUs this process may use, in CUDA's order, and why there is none (or "").

    Each: name, memory_bytes, capability "9.0", driver, sm_clock_mhz, sm_clock_max_mhz, power_limit_w, throttle_reasons
    and missing, which says why one of them is None.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return [], "nvidia-ml-py is not installed, so GPUs cannot be asked"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [], f"NVML does not start: {error}"
    try:
        handles, why = _visible(nvml)
        return [_gpu(nvml, handle) for handle in handles], why
    except nvml.NVMLError as error:
        return [], f"NVML: {error}"
    finally:
        nvml.nvmlShutdown()


def _visible(nvml: Any) -> tuple[list[Any], str]:
    """Handles of the GPUs that CUDA_VISIBLE_DEVICES leaves, and why there is none."""
    count = nvml.nvmlDeviceGetCount()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)], "" if count else "NVML counts no GPU"
    handles = []
    for entry in (part.strip() for part in chosen.split(",")):
        if entry.isdigit() and int(entry) < count:
            handles.append(nvml.nvmlDeviceGetHandleByIndex(int(entry)))
        elif entry.startswith(("GPU-", "MIG-")):
            handles.append(nvml.nvmlDeviceGetHandleByUUID(entry))
        else:
            break  # CUDA, too, ignores what follows an entry it does not know.
    return handles, "" if handles else f"CUDA_VISIBLE_DEVICES={chosen!r} leaves none of {count} visible"


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    missing: dict[str, str] = {}

    def ask(key: str, question: Callable[[], Any]) -> Any:
        try:
            answer = question()
        except (nvml.NVMLError, AttributeError) as error:
            missing[key] = str(error)
            return None
        return answer.decode() if isinstance(answer, bytes) else answer

    capability = ask("capability", lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
    power = ask("power_limit_w", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    bits = ask("throttle_reasons", lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    return {
        "name": ask("name", lambda: nvml.nvmlDeviceGetName(handle)),
        "capability": None if capability is None else f"{capability[0]}.{capability[1]}",
        "driver": ask("driver", nvml.nvmlSystemGetDriverVersion),
        "memory_bytes": ask("memory_bytes", lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total)),
        "sm_clock_mhz": ask("sm_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "sm_clock_max_mhz": ask("sm_clock_max_mhz", lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "power_limit_w": None if power is None else power / 1000,
        "throttle_reasons": None if bits is None else [name for bit, name in THROTTLE_REASONS.items() if bits & bit],
        "missing": missing,
    }


def _version(package: str, missing: dict[str, str]) -> str | None:
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded is not None:
        return str(loaded)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        missing[package] = "not installed"
        return None


def _read(path: Path, key: str, missing: dict[str, str]) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError as error:
        missing[key] = f"{path.name}: {error.strerror}"
        return None


def _field(text: str, name: str) -> str | None:
    """The value of the first "name : value" line of a /proc file."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None


def _quota_cores(text: str | None) -> float | None:
    """cpu.max of a control group, "<quota us> <period us>", as cores; None without a quota."""
    parts = (text or "").split()
    if len(parts) != 2 or not parts[0].isdigit() or not parts[1].isdigit() or parts[1] == "0":
        return None
    return int(parts[0]) / int(parts[1])
