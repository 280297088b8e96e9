"""What can be measured on this machine, and the command that mends what cannot.

Looks only: nothing is set, started or imported that a run would need. Every check answers; none raises.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.metadata
import importlib.util
import itertools
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import sandbox
from aisp_runner.clock_lock import choose
from aisp_runner.errors import DeviceError
from aisp_runner.listing import find_nvcc
from aisp_runner.machine import ROOT, cpu_facts, gpus
from aisp_runner.state import GpuState, first_gpu

OK = "ok"
MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """One thing a measurement depends on."""

    name: str
    found: str
    """What is there, with units."""
    mend: str = ""
    """The command, or the change, that gives what is missing. Empty when nothing is missing."""

    @property
    def status(self) -> str:
        """ok or missing."""
        return MISSING if self.mend else OK


def examine(root: Path = ROOT) -> list[Check]:
    """Every check, in the order a reader would mend them: software, CPU, timers, GPU."""
    return [*_software(), *_cpu(root), *_timers(root), *_gpu(*gpus())]


def as_json(checks: Sequence[Check]) -> list[dict[str, str]]:
    """The checks as plain JSON values."""
    return [{"name": c.name, "status": c.status, "found": c.found, "mend": c.mend} for c in checks]


def lines(checks: Sequence[Check]) -> list[tuple[str, str]]:
    """The checks as (text, style) lines; a missing one is followed by the command that mends it."""
    column = max(len(c.name) for c in checks) + 2
    shown = []
    for c in checks:
        shown.append((f"{c.status:<9}{c.name:<{column}}{c.found}", "green" if c.status == OK else "yellow"))
        if c.mend:
            shown.append((" " * (9 + column) + "-> " + c.mend, ""))
    lost = sum(c.status == MISSING for c in checks)
    shown.append(("", ""))
    summary = f"{lost} of {len(checks)} missing. None of them stops a run on the CPU." if lost else "Everything is there."
    shown.append((summary, "bold"))
    return shown


def _software() -> list[Check]:
    wanted = {
        "torch": "pip install torch",
        "hydra": "pip install hydra-core",
        "omegaconf": "pip install omegaconf",
        "jsonschema": "pip install jsonschema",
        "rich": "pip install rich",
        "triton": "pip install triton",
    }
    checks = []
    for module, mend in wanted.items():
        if importlib.util.find_spec(module) is None:
            checks.append(Check(module, "not installed", mend))
        else:
            checks.append(Check(module, _version("hydra-core" if module == "hydra" else module)))
    spec = importlib.util.find_spec("torch")
    return [*checks, *([_bytecode(Path(spec.origin).parent)] if spec and spec.origin else [])]


def _bytecode(folder: Path) -> Check:
    """Whether torch has been compiled to bytecode: every start of a run compiles it anew otherwise, importing it took 3.0 s
    instead of 1.4 to 1.5 s on the machine of an H200 (docs/results).
    """
    files = [folder / name for name in ("__init__.py", "_refs/__init__.py", "nn/functional.py")]
    bare = [file for file in files if file.is_file() and not Path(importlib.util.cache_from_source(str(file))).is_file()]
    if not bare:
        return Check("torch's bytecode", "compiled")
    return Check("torch's bytecode", "not compiled: each start takes seconds longer", f"python -m compileall -q {folder}")


def _cpu(root: Path) -> list[Check]:
    facts = cpu_facts(root)
    cores, quota = facts["cores_usable"] or facts["cores"] or 1, facts["cpu_quota_cores"]
    text = f"{cores} of {facts['cores']} cores usable" + (f", quota of {quota:g} cores" if quota else "")
    enough = cores >= 2 and (quota is None or quota >= 2)
    checks = [Check("cores", text, "" if enough else "judge and worker need a core each: taskset, or docker run --cpus=4")]
    governor = facts["governor"]
    set_it = "sudo cpupower frequency-set -g performance"
    checks.append(
        Check("CPU governor", governor, "" if governor == "performance" else set_it)
        if governor
        else Check("CPU governor", "not visible", f"on the host: {set_it}")
    )
    if facts["hypervisor"] is None:
        checks.append(Check("bare metal", "not known", "read /proc/cpuinfo on the host"))
    else:
        mend = "run on bare metal, or measure longer: aisp-run measure=publication" if facts["hypervisor"] else ""
        checks.append(Check("bare metal", "a virtual machine" if facts["hypervisor"] else "no hypervisor", mend))
    checks.append(_memory_lock())
    has_memfd = hasattr(os, "memfd_create")
    checks.append(Check("shared memory", "memfd" if has_memfd else "no memfd", "" if has_memfd else "use Linux 3.17 or later"))
    checks.append(_sandbox())
    return checks


def _sandbox() -> Check:
    """What the kernel can refuse a worker. Workers on a GPU are not confined, whatever it can."""
    facts = sandbox.facts()
    abi, missing = facts["landlock_abi"], facts["missing"]
    has_filter = "seccomp.calls" not in missing
    found = f"Landlock ABI {abi}, " if abi else "no Landlock, "
    found += "seccomp" if has_filter else "no seccomp"
    if not missing:
        return Check("sandbox", f"{found}: workers on a CPU are wholly confined")
    reasons = "; ".join(
        f"{why}: {', '.join(p for p in missing if missing[p] == why)}" for why in dict.fromkeys(missing.values())
    )
    return Check("sandbox", f"{found}. {reasons}", "use Linux 6.12 or later with landlock in lsm=; docs/sandbox.md")


def _memory_lock() -> Check:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY:
        return Check("memory locking", "unlimited")
    mend = "" if limit >= 64 << 20 else "ulimit -l unlimited, or docker run --ulimit memlock=-1"
    return Check("memory locking", f"{limit / 2**20:.0f} MiB", mend)


def _timers(root: Path) -> list[Check]:
    source = cpu_facts(root)["clock_source"]
    step, cost = timer_ns()
    good = source in ("tsc", "arch_sys_counter")
    mend = "" if good else "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"
    fast = "" if cost < 1000 else "use the tsc clock source; a read must cost less than 1000 ns"
    return [
        Check("clock source", source or "not visible", mend),
        Check("timer", f"smallest step {step} ns, {cost:.0f} ns a read", fast),
    ]


def timer_ns() -> tuple[int, float]:
    """(smallest step seen, cost of one read) of perf_counter_ns, ns."""
    steps, costs = [], []
    for _ in range(20):
        stamps = [time.perf_counter_ns() for _ in range(200)]
        steps += [b - a for a, b in itertools.pairwise(stamps) if b > a]
        costs.append((stamps[-1] - stamps[0]) / (len(stamps) - 1))
    return min(steps, default=0), statistics.median(costs)


def _gpu(seen: list[dict[str, Any]], why: str) -> list[Check]:
    nvml = bool(seen) or importlib.util.find_spec("pynvml") is not None
    checks = [Check("NVML", _version("nvidia-ml-py") if nvml else "not installed", "" if nvml else "pip install nvidia-ml-py")]
    checks += [_nvcc(), _cupti()]
    if not seen:
        mend = "unset CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in why else "nvidia-smi, then install the NVIDIA driver"
        return [*checks, Check("GPU", why or "none", mend if nvml else "pip install nvidia-ml-py")]
    names = ", ".join(f"{g['name']} (capability {g['capability'] or '?'})" for g in seen)
    checks += [Check("GPU", f"{len(seen)}: {names}"), Check("driver", str(seen[0]["driver"] or "not known"))]
    if "+cpu" in _version("torch"):
        checks.append(Check("torch for the GPU", _version("torch"), "pip install torch, from the CUDA index of pytorch.org"))
    for i, g in enumerate(seen):
        now, most, held = g["sm_clock_mhz"], g["sm_clock_max_mhz"], g["throttle_reasons"]
        slow = [r for r in held or () if r not in ("gpu_idle", "applications_clocks_setting")]
        text = f"SM clock {now} of {most} MHz, power limit {g['power_limit_w']} W"
        text += f", held back by {', '.join(slow)}" if slow else ""
        unknown = now is None or held is None
        mend = "nvidia-smi -q -d CLOCK,POWER,PERFORMANCE" if slow or unknown else ""
        checks.append(Check(f"GPU {i} clocks", text, mend))
    return [*checks, *_watching()]


def _watching() -> list[Check]:
    """Whether the first GPU's state can be read between batches, and which clocks could be locked. Locking is never tried."""
    state = GpuState(set)
    with contextlib.closing(state):
        state.read()
    lost = {key: why for key, why in state.missing.items() if key != "other_processes"}  # this process runs nothing there
    read = "incomplete: " + ", ".join(f"{key} ({why})" for key, why in lost.items()) if lost else "clocks, power, temperature"
    mend = "nvidia-smi -q -d CLOCK,POWER,TEMPERATURE,PERFORMANCE; docs/machine-state.md" if lost else ""
    return [Check("GPU readings", read, mend), Check("clock locking", _lockable())]


def _lockable() -> str:
    try:
        nvml, gpu = first_gpu()
    except DeviceError as error:
        return f"not known: {error}"
    try:
        sm, memory, rule = choose(nvml, gpu)
    except (nvml.NVMLError, AttributeError) as error:
        return f"not known: the card lists no clocks ({error})"
    finally:
        nvml.nvmlShutdown()
    return f"SM {sm} MHz ({rule}), memory {memory} MHz; needs root, and whether it is allowed is not known without trying"


def _nvcc() -> Check:
    path = find_nvcc()
    if path is None:
        return Check("nvcc", "not found", "install the CUDA toolkit, or export CUDA_HOME=/usr/local/cuda")
    try:
        out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Check("nvcc", f"does not run: {error}", "install the CUDA toolkit again")
    release = next((line for line in out.splitlines() if "release" in line), out.strip())
    return Check("nvcc", release.strip())


def _cupti() -> Check:
    """libcupti, from the loader's path, the toolkit, or the pip packages that torch brings along."""
    found = ctypes.util.find_library("cupti")
    homes = [home for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if home]
    folders = [Path(home) / "extras" / "CUPTI" / "lib64" for home in homes]
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folders += [Path(place) / "cuda_cupti" / "lib", *Path(place).glob("cu[0-9]*/lib")]
    libraries = [file.name for folder in folders for file in sorted(folder.glob("libcupti.so*"))]
    if found or libraries:
        return Check("CUPTI", found or libraries[0])
    return Check("CUPTI", "libcupti not found", "pip install nvidia-cuda-cupti (CUDA 12: nvidia-cuda-cupti-cu12)")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "installed, version not known"
