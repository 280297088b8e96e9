"""Both arms have as much managed memory as each other.

Managed (unified) memory migrates page by page to whoever touches it, and an arm whose pages the host has touched in between
pays for that in its calls. The judge reads from the kernel's list of each arm's mappings how much managed memory it has.
Blind spot: two arms with as much of it, of which one touches it; systems on which a GPU reads a process's ordinary pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class ManagedMemory(Protection):
    id = "cuda.managed_memory"
    covers = ("cuda.unified_memory_faults",)
    needs = "cuda"

    slack_mib: float = 1.0
    """How far the arms may be apart, MiB."""

    def judge_conclude(self, judge: Judge) -> Evidence:
        from aisp_runner.gpu_use import managed_bytes

        held = {arm: sum(managed_bytes(pid) for pid in judge.arms[arm].pids) / 2**20 for arm in ("baseline", "candidate")}
        observed = f"managed memory: {held['baseline']:.1f} MiB in the baseline, {held['candidate']:.1f} MiB in the candidate"
        apart = abs(held["baseline"] - held["candidate"])
        return self.found("conclude", apart <= self.slack_mib, observed, f"{self.slack_mib:g} MiB apart")
