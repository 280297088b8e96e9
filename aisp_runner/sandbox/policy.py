"""What a worker is to be confined to; travels from the judge to the forked process as JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aisp_runner.errors import ConfigError
from aisp_runner.gpu_use import minor_numbers

MODES = ("auto", "full", "off")
SWITCH = "AISP_SANDBOX"
"""Environment variable of the judge that names a mode."""

SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""Device files below /dev that all GPUs share."""


@dataclass(frozen=True)
class Sandbox:
    """The policy of one worker."""

    mode: str = "auto"
    """auto: confined on a CPU, not on a GPU. full: on a GPU as well. off: nowhere."""
    device: str = "cpu"
    writable: tuple[str, ...] = ()
    """Folders in which the worker may create, write and remove."""
    network: bool = False
    """Whether it may open sockets: ranks of one variant communicate over TCP."""
    devices: tuple[str, ...] = ()
    """Device files that it may open for writing: its GPU's, and those that all GPUs share."""

    def why_not(self) -> str:
        """Why this worker is not to be confined, or ""."""
        if self.mode == "off":
            return "switched off (sandbox=off)"
        if self.mode == "auto" and self.device != "cpu":
            return f"not applied on {self.device}: not measured there; sandbox=full asks for it"
        return ""


def gpu_devices(named: int | None = 1, root: Path = Path("/dev")) -> tuple[str, ...]:
    """The device files of the first `named` visible GPUs and those that all GPUs share; of every GPU where `named` is None or
    NVML does not tell which file is whose.
    """
    shared = [*(root / name for name in SHARED), *sorted((root / "nvidia-caps").glob("*"))]
    every = sorted(path for path in root.glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal())
    minors = None if named is None else minor_numbers(named)
    own = every if minors is None else [root / f"nvidia{minor}" for minor in minors]
    return tuple(str(path) for path in (*own, *shared) if path.exists())


def mode_asked(given: str | None = None) -> str:
    """The mode that was given, else that of AISP_SANDBOX, else auto. Raises ConfigError for another word."""
    mode = given if given is not None else os.environ.get(SWITCH) or "auto"
    if mode not in MODES:
        where = "sandbox" if given is not None else SWITCH
        raise ConfigError(f"{where}={mode!r}: unknown mode. Allowed: {', '.join(MODES)}.")
    return mode
