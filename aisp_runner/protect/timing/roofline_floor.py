"""No call is faster than the machine can do the declared work.

The floor is the workload's own count of bytes and operations over the fastest rates that `aisp peak` found on this machine,
with headroom (docs/peak.md). A time below it is not believed: the work was not done, was done outside the batch, or is declared
wrongly. Which of these it is cannot be told from here, so in a gate the verdict is INCONCLUSIVE and not INVALID. Blind spot:
workloads that declare no work and machines that were not measured, about which this says nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class RooflineFloor(Protection):
    id = "timing.roofline_floor"
    covers = ("timing.unsynced_streams", "timing.incomplete_async_ops", "workload.undeclared_shortcuts", "workload.early_exit")

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        made = judge.measured
        if made is None or not made.rounds or judge.floor_s is None:
            return None
        floor_us = judge.floor_s * 1e6
        us = made.estimate().candidate_ns / 1e3
        said = f"a call takes {us:.2f} us, and its declared work at least {floor_us:.2f} us on this machine"
        if us < floor_us:
            return self.unavailable("conclude", f"{said}: either `work:` is wrong, or the calls do not do it")
        return self.found("conclude", True, said, f"at least {floor_us:.2f} us", "candidate")
