"""What was asked of GPUs and CPU lanes, by the settings `gpus` and `cpus` or by options of `aisp_runner.execute`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aisp_runner.errors import ConfigError

MODES = ("one", "spread", "each")


@dataclass(frozen=True)
class Asked:
    """Without any change: one GPU, one CPU lane, and no process more than that takes."""

    use: int | str | tuple[int, ...] = 1
    """GPUs: "all", the first so many, or their indices among those that are visible, in NVML's order."""
    mode: str = ""
    """one, spread or each; "": spread where several GPUs are meant, else one."""
    wait_seconds: float = 60.0
    """How long to wait for a GPU that another run holds, s."""
    cpu_lanes: int = 1
    """How many cases on the CPU go side by side, a count."""
    lane_cores: int = 2
    """CPU cores that a lane has at least, a count."""

    @property
    def plain(self) -> bool:
        """Whether nothing but the first GPU and one CPU lane is meant."""
        return self.use == 1 and self.mode in ("", "one") and self.cpu_lanes == 1

    def words(self) -> str:
        """As on the command line: gpus=[0,2]."""
        return f"gpus={list(self.use) if isinstance(self.use, tuple) else self.use}".replace(" ", "")


def of_settings(settings: dict[str, Any]) -> Asked:
    """What the settings ask, which the schema accepts. Raises ConfigError."""
    gpus, cpus = settings.get("gpus") or {}, settings.get("cpus") or {}
    use = gpus.get("use", Asked.use)
    return checked(
        tuple(use) if isinstance(use, list) else use,
        gpus.get("mode") or "",
        float(gpus.get("wait_seconds", Asked.wait_seconds)),
        cpus.get("lanes", Asked.cpu_lanes),
        cpus.get("lane_cores", Asked.lane_cores),
    )


def of_words(gpus: str, mode: str, wait_seconds: float, cpu_lanes: int, lane_cores: int) -> Asked:
    """The same from options: gpus is "all", "2" or "[0,2]". Raises ConfigError."""
    use: int | str | tuple[int, ...]
    words: Sequence[str] = gpus.strip().removeprefix("[").removesuffix("]").split(",")
    if gpus == "all":
        use = "all"
    elif all(word.strip().isdigit() for word in words):
        numbers = tuple(int(word) for word in words)
        use = numbers if len(numbers) > 1 or gpus.startswith("[") else numbers[0]
    else:
        raise ConfigError(f"--gpus: {gpus!r} is neither all, nor a number of GPUs, nor a list of indices such as [0,2].")
    return checked(use, mode, wait_seconds, cpu_lanes, lane_cores)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `aisp_runner.execute` that `of_words` reads, and the one by which it starts a lane."""
    parser.add_argument("--gpus", default="1", metavar="WHICH", help="all, the first so many, or indices: [0,2] (default: 1)")
    parser.add_argument("--gpus-mode", choices=MODES[:2], default="", help="spread: share the cases out")
    parser.add_argument("--gpus-wait", type=float, default=Asked.wait_seconds, metavar="S", help="wait for a GPU in use")
    parser.add_argument("--cpu-lanes", type=int, default=1, metavar="N", help="cases on the CPU that go side by side")
    parser.add_argument("--lane-cores", type=int, default=Asked.lane_cores, metavar="N", help="cores a lane has at least")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)


def checked(use: int | str | tuple[int, ...], mode: str, wait_seconds: float, cpu_lanes: int, lane_cores: int) -> Asked:
    """Raises ConfigError for what cannot be meant."""
    made = Asked(use, mode, wait_seconds, cpu_lanes, lane_cores)
    if isinstance(use, tuple) and len(set(use)) < len(use):
        raise ConfigError(f"{made.words()}: a GPU is named twice. Name each once.")
    if use == 0 or use == ():
        raise ConfigError(f"{made.words()}: no GPU is meant. Name one, or leave it out; device=cpu runs without a GPU.")
    if wait_seconds < 0 or cpu_lanes < 1 or lane_cores < 1:
        raise ConfigError("gpus.wait_seconds is at least 0 s, cpus.lanes and cpus.lane_cores are at least 1. Correct them.")
    return made
