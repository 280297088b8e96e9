"""The GPUs that lanes may have: which are visible, which are meant, and which CPU cores are near them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aisp_runner import machine
from aisp_runner.errors import ConfigError, DeviceError
from aisp_runner.lanes.asked import Asked


@dataclass(frozen=True)
class Gpu:
    """A GPU, or an instance of one (MIG), that this process may use."""

    uuid: str
    index: int
    """Its place among the visible ones, in NVML's order, from 0."""
    model: str = ""
    driver: str = ""
    near: frozenset[int] = frozenset()
    """CPU cores of its NUMA node; empty where that is not told."""

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.uuid})"

    def to_json(self) -> dict[str, Any]:
        """As a record names it."""
        return {key: value for key, value in asdict(self).items() if key in ("uuid", "index", "model")}


def visible(root: Path = machine.ROOT) -> tuple[list[Gpu], str]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, and why there is none, or ""."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return [], "nvidia-ml-py is not installed, so GPUs cannot be asked: pip install nvidia-ml-py"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [], f"NVML does not start: {error}"
    try:
        handles, why = machine._visible(nvml)
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        return [_gpu(nvml, handle, index, driver, root) for index, handle in enumerate(handles)], why
    except (nvml.NVMLError, AttributeError) as error:  # AttributeError: a version that lacks a question
        return [], f"NVML: {error}"
    finally:
        nvml.nvmlShutdown()


def chosen(asked: Asked) -> list[Gpu]:
    """The GPUs that are meant, in the order they were named. Raises ConfigError where one is not visible."""
    there, why = visible()
    if asked.use == "all" and there:
        return there
    wanted = range(asked.use) if isinstance(asked.use, int) else asked.use
    missing = [index for index in wanted if not isinstance(index, int) or index >= len(there)]
    if missing or not there:
        seen = f"{len(there)} {'is' if len(there) == 1 else 'are'} visible{f' ({why})' if why else ''}"
        raise ConfigError(
            f"{asked.words()}: {seen}. Indices go from 0 and count what CUDA_VISIBLE_DEVICES leaves; gpus=all takes all."
        )
    return [there[index] for index in wanted if isinstance(index, int)]


def held_by_a_plain_run(ranks: int) -> tuple[list[Gpu], str]:
    """The GPUs that a run without lanes uses, and why they are not known, or "".

    The first `ranks` visible ones; all of them where CUDA may count them unlike NVML.
    """
    there, why = visible()
    if not there:
        return [], why
    same_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith(
        "GPU-"
    )
    unsure = len({gpu.model for gpu in there}) > 1 and not same_order
    return (there if unsure else there[: max(1, ranks)]), ""


def lost(uuid: str) -> str:
    """Why NVML no longer answers for a GPU that was there, or ""."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return ""
    gone = tuple(getattr(nvml, name, None) for name in ("NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_NOT_FOUND"))
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"NVML does not start: {error}"
    try:
        nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid))
    except nvml.NVMLError as error:
        return f"NVML: {error}" if getattr(error, "value", None) in gone else ""
    finally:
        nvml.nvmlShutdown()
    return ""


def refuse_mixture(gpus: Sequence[Gpu]) -> None:
    """Raises ConfigError where one table of what several models measured would compare what differs."""
    models = sorted({gpu.model for gpu in gpus})
    if len(models) > 1:
        raise ConfigError(
            f"gpus.mode=spread: the GPUs are of {len(models)} models ({', '.join(models)}), and a table of them would compare "
            "what differs. Name those of one model with gpus=[...], or measure every case on each: gpus.mode=each."
        )


def refuse_none(gpus: Sequence[Gpu], why: str) -> None:
    """Raises DeviceError without a GPU."""
    if not gpus:
        raise DeviceError(f"no GPU is visible: {why}")


def _gpu(nvml: Any, handle: Any, index: int, driver: str, root: Path) -> Gpu:
    uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
    return Gpu(uuid, index, name, driver, _near(nvml, handle, root))


def _near(nvml: Any, handle: Any, root: Path) -> frozenset[int]:
    """Cores of the GPU's NUMA node, from /sys; of the whole GPU for an instance of one."""
    try:
        address = _text(nvml.nvmlDeviceGetPciInfo(handle).busId).lower()
    except (nvml.NVMLError, AttributeError):
        try:
            whole = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            address = _text(nvml.nvmlDeviceGetPciInfo(whole).busId).lower()
        except (nvml.NVMLError, AttributeError):
            return frozenset()
    domain, _, rest = address.partition(":")
    path = root / "sys/bus/pci/devices" / f"{domain[-4:]}:{rest}" / "local_cpulist"
    try:
        return frozenset(numbers(path.read_text()))
    except (OSError, ValueError):
        return frozenset()


def numbers(text: str) -> set[int]:
    """The numbers in a list of the kernel's: "0-3,8"."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
