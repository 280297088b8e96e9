"""Nobody else kept the run's cores or GPU busy, least of all a process that the candidate left running for the others' turns.

While another arm runs, the candidate's worker is frozen; what it has started in a session of its own is not. The judge takes
the CPU time of all that descends from the candidate's worker, and of orphans, after each of its batches and before the next
one: what was used in between was used in the others' time. A GPU that somebody shares lets the judge's empty batches wait for
their turn, a millisecond or two, also in a container where NVML shows nobody. Blind spot: on a GPU, work that such a process
gives to the device; a process that is handed to another parent and ended between two looks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge


@dataclass(frozen=True)
class QuietMachine(Protection):
    id = "environment.quiet_machine"
    covers = ("statistical.background_process_noise",)

    stray: float = 0.05
    """Share of the others' time for which processes of the candidate's may run."""
    stray_ms: float = 20.0
    """And the least CPU time that is refused, ms: the kernel counts in ticks of 10 ms."""
    busy: float = 0.9
    """Share of the run's cores that others may use: the median over the rounds. What less of it costs, the interval tells."""
    empty_us: float = 1200.0
    """What a batch without calls may take on a GPU, the median over the rounds, us. On an H200: 250 to 420, 2400 where another
    process computes. The device's time stamps decide from there on, where they may (aisp_runner/sharing.py)."""

    def judge_after_batch(self, judge: Judge, batch: Batch) -> None:
        if batch.arm == "candidate":
            from aisp_runner.host import LeftRunning

            before = judge.left_running.get(judge.process) or LeftRunning()
            used = _used(judge) if batch.timed else {}
            since = time.perf_counter_ns() if batch.timed else 0  # while it warms up a candidate may still be compiling
            judge.left_running[judge.process] = LeftRunning(since, used, before.stray_ns, before.gaps_ns)

    def judge_before_batch(self, judge: Judge, batch: Batch) -> None:
        left = judge.left_running.get(judge.process)
        if batch.arm != "candidate" or left is None or not left.since_ns:
            return
        left.stray_ns += sum(max(0, ns - left.used_ns.get(pid, 0)) for pid, ns in _used(judge).items())
        left.gaps_ns += time.perf_counter_ns() - left.since_ns
        left.since_ns = 0

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        stray = sum(left.stray_ns for left in judge.left_running.values()) / 1e6
        gaps = sum(left.gaps_ns for left in judge.left_running.values()) / 1e6
        observed = (
            f"processes that the candidate left running used {stray:.0f} ms of CPU time in {gaps:.0f} ms of the others' turns"
        )
        limit = max(self.stray_ms, self.stray * gaps)
        found = [self.found("conclude", stray <= limit, observed, f"{limit:.0f} ms", "candidate"), self._others(judge)]
        return found + ([self._sharers(judge)] if judge.device.name == "cuda" else [])

    def _others(self, judge: Judge) -> Evidence:
        from aisp_runner.statistics import median

        shares = [s for r in judge.readings if (s := getattr(r, "others_busy", None)) is not None]
        if not shares:
            return self.found("conclude", True, "how busy others kept the cores was not read", "")
        typical = median(shares)
        observed = f"other processes used {typical:.0%} of the run's cores (median of {len(shares)} looks)"
        if typical > self.busy:
            return self.unavailable("conclude", f"{observed}; limit {self.busy:.0%}. Run again on a quieter machine")
        return self.found("conclude", True, observed, f"{self.busy:.0%}")

    def _sharers(self, judge: Judge) -> Evidence:
        from aisp_runner.sharing import empty_batches

        seen = empty_batches(judge.batches, self.empty_us)
        if seen is None:
            return self.found("conclude", True, "no batch without calls was timed", "")
        limit = f"{self.empty_us:.0f} us"
        if not seen.shared:
            return self.found("conclude", True, str(seen), limit)
        return self.unavailable("conclude", f"{seen}; limit {limit}: another process computes there. {_remedy(judge)}")


def _remedy(judge: Judge) -> str:
    """What to do on a GPU that is shared, or what was done."""
    from aisp_runner.sharing import READERS, answerable

    made, end = judge.measured, "End it, or take another GPU"
    if made is None or not answerable(judge.case, made.schedule.mode):
        return end
    if made.stamped:
        return "The device's time stamps decide, and not the judge's clock"
    if judge.case.measure.device_clock in READERS:
        return f"{end}: time stamps cannot decide here{': ' if made.no_device_clock else ''}{made.no_device_clock}"
    return f"{end}; or let time stamps decide: install cupti-python (extra cupti), or set measure.device_clock=kineto"


def _used(judge: Judge) -> dict[int, int]:
    """CPU time by process, ns, of what the candidate's worker has started, and of orphans, which the fork server inherits."""
    from aisp_runner.host import children, descendants, used_ns

    orphans = children(judge.cast.server.process.pid) - judge.cast.pids()
    started = {pid for parent in (*judge.arms["candidate"].pids, *orphans) for pid in descendants(parent)}
    return {pid: used_ns(pid) for pid in started | orphans}
