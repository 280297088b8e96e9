"""A kernel on a GPU is timed while the GPU does its work, not the CPU.

Behind the gate a worker has enqueued everything before the clock starts, and only waits. CPU time that the candidate's process
uses in a timed batch beyond what the baseline's uses while it waits is work that a host does: the number would not be a
kernel's. A worker that waits by looking all the time uses the batch's length and what comes after it (0.4 to 0.6 ms on an
H200). The judge reads the process's CPU clock itself, those of several ranks together, and stops it for that: read while its
threads run, the clock lacks up to 4 ms (docs/decisions/0019). What the baseline's own batches scatter is allowed on top; the
candidate's scatter is not, for it would be the candidate's to choose. Where others keep the cores busy, waiting takes CPU time
of its own, and two equal workers differ by a whole batch: nobody is accused then, and a gate stops all the same. Blind spot:
mode wall, where a worker dispatches while it is timed; work of another process that the candidate started; work within the
slack.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge


@dataclass(frozen=True)
class DeviceResidency(Protection):
    id = "location.device_residency"
    covers = ("location.cpu_spillover",)
    needs = "cuda"

    share: float = 0.25
    """CPU time that the candidate may use beyond what is expected, as a share of the batch's length: a quarter of a core."""
    slack_us: float = 250.0
    """And this much a batch: a thread that wakes up. One honest run of 104 used 263 us more than expected on an H200."""
    errors: float = 3.0
    """And so many standard errors of the difference of two medians, as far as the baseline's batches scatter."""
    busy: float = 1.0
    """Tasks that want a core, for each core of the machine, the median over the rounds: from more of them on an excess is held
    against nobody. With a process spinning on each of 16 cores, one honest run of 10 used 5.9 ms in batches of 2.9 ms.
    """

    def judge_at_done(self, judge: Judge, batch: Batch) -> None:
        from aisp_runner.system import settled_cpu_ns

        now_ns = settled_cpu_ns(judge.arms[batch.arm].pids)
        if batch.cpu_from_ns is not None and now_ns is not None:
            batch.cpu_used_ns = max(0, now_ns - batch.cpu_from_ns)
            batch.cpu_window_ns = time.perf_counter_ns() - batch.issued_ns

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        from aisp_runner.intervals import median, median_error

        made = judge.measured
        if made is None or made.schedule.mode == "wall":
            return None
        calls = {arm: made.schedule.calls.of(arm)[1] for arm in ("baseline", "candidate")}
        long = {arm: [b for b in judge.batches if b.timed and b.arm == arm and b.calls == n] for arm, n in calls.items()}
        used = {arm: median([b.cpu_used_ns / 1e3 for b in batches]) for arm, batches in long.items()}
        looked = {arm: median([b.cpu_window_ns / 1e3 for b in batches]) for arm, batches in long.items()}
        lasted_us = median([b.elapsed_ns / 1e3 for b in long["candidate"]])
        expected = _waiting_us(used["baseline"], looked["baseline"], looked["candidate"])
        over = [(b.cpu_used_ns - b.cpu_window_ns) / 1e3 for b in long["baseline"]]
        scatter = self.errors * math.sqrt(2) * median_error(over)
        limit = expected + self.share * lasted_us + self.slack_us + scatter
        said = f"the worker used {used['candidate']:.0f} us of CPU time in a batch of {lasted_us:.0f} us"
        loads = [float(load) for r in judge.readings if (load := getattr(r, "load", None)) is not None]
        tasks, cores = median(loads) if loads else 0.0, os.cpu_count() or 1
        if used["candidate"] > limit and tasks > self.busy * cores:
            why = f"{tasks:.0f} tasks wanted one of {cores} cores, and waiting takes CPU time then"
            return self.unavailable("conclude", f"{said}, limit {limit:.0f} us; {why}. Run again on a quieter machine")
        return self.found("conclude", used["candidate"] <= limit, said, f"{limit:.0f} us", "candidate")


def _waiting_us(used_us: float, lasted_us: float, other_us: float) -> float:
    """CPU time in a batch of `other_us` of a worker that waits as one that used `used_us` in a batch of `lasted_us` does."""
    if used_us > lasted_us:
        return other_us + used_us - lasted_us
    return other_us * used_us / lasted_us
