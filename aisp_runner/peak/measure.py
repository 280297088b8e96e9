"""From a machine to its stored ceilings: what `aisp peak` does."""

from __future__ import annotations

import datetime
import time
from typing import Any

from aisp_runner import __version__
from aisp_runner.errors import ConfigError
from aisp_runner.peak import store
from aisp_runner.peak.store import Peak

SECONDS = {"cpu": 6.0, "cuda": 15.0}
"""About how long measuring takes by default, s, without starting Python, torch and Triton."""
MOST_SECONDS = 600.0


def choose(asked: str | None, facts: dict[str, Any]) -> str:
    """cpu or cuda. Raises ConfigError where a GPU was asked for and there is none.

    facts: as `machine.facts("cuda")` gives them.
    """
    if asked == "cuda" and not facts.get("gpu"):
        why = facts.get("missing", {}).get("gpu", "no GPU is visible")
        raise ConfigError(f"--device cuda: {why}. See what is missing: aisp doctor; or measure the CPU: aisp peak --device cpu")
    return asked or ("cuda" if facts.get("gpu") else "cpu")


def measure(device: str, facts: dict[str, Any], seconds: float) -> Peak:
    """Measures now. facts: as `machine.facts(device)` gives them; seconds: about how long it may take."""
    key = store.key(device, facts)
    if key is None:
        raise ConfigError(f"--device {device}: the machine does not tell what it is. See: aisp doctor")
    start = time.perf_counter()
    if device == "cuda":
        from aisp_runner.peak import cuda

        values, seen = cuda.measure(seconds)
        gpu = facts["gpu"]
        hardware = {name: gpu.get(name) for name in ("driver", "capability", "memory_bytes", "power_limit_w")} | seen
        name = gpu["name"]
    else:
        from aisp_runner.peak import cpu

        values, seen = cpu.measure(seconds)
        hardware = {name: facts.get(name) for name in ("cores", "memory_bytes", "governor", "hypervisor")} | seen
        name = facts.get("cpu") or "unknown CPU"
    import torch

    versions = {name: facts.get(name) for name in ("python", "torch", "triton")}
    return Peak(
        device=device,
        key=key,
        name=name,
        measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - start, 2),
        hardware=hardware,
        versions={"aisp_run": __version__, **versions, "cuda": torch.version.cuda},
        values=values,
    )
