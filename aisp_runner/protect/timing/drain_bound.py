"""Nothing may still be running when the worker says it is done.

CUDA: the judge's own small operation right after DONE waits for whatever else the device is doing. CPU: the worker's threads
may use no CPU time after DONE but what the report takes. The median over the candidate's long batches is held against the
baseline's: the speed-up is a median too, so a candidate that is honest now and then gains as little as it hides. Where time
stamps decide, since another process computes on the GPU, waiting for a turn is allowed on top. Blind spot: work shorter than
the slack; work in another process of the candidate's on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class DrainBound(Protection):
    id = "timing.drain_bound"
    covers = (
        "timing.unsynced_streams",
        "timing.incomplete_async_ops",
        "cuda.persistent_kernel",
        "cuda.cooperative_launch_abuse",
        "cuda.host_callback_escape",
        "cuda.async_memcpy_incomplete",
        "location.background_thread",
        "distributed.async_gradient_timing",
    )

    cuda_slack_us: float = 60.0
    """Above 1.25 times the baseline's median drain, us."""
    cpu_slack_us: float = 500.0
    """CPU time above 1.5 times the baseline's median in a window of 3 ms, us."""

    def judge_conclude(self, judge: Judge) -> Evidence:
        from aisp_runner.sharing import turn_us
        from aisp_runner.statistics import median

        timed = {arm: [b for b in judge.batches if b.arm == arm and b.timed] for arm in ("baseline", "candidate")}
        longest = {arm: max(b.calls for b in batches) for arm, batches in timed.items()}
        drains = {arm: [b.drain_ns / 1e3 for b in batches if b.calls == longest[arm]] for arm, batches in timed.items()}
        cuda = judge.device.name == "cuda"
        usual = median(drains["baseline"])
        limit = 1.25 * usual + self.cuda_slack_us + turn_us(judge) if cuda else 1.5 * usual + self.cpu_slack_us
        typical = median(drains["candidate"])
        what = "the judge's next operation took" if cuda else "CPU time used within 3 ms of DONE:"
        return self.found("conclude", typical <= limit, f"{what} {typical:.0f} us (median)", f"{limit:.0f} us", "candidate")
