"""Clocks that look at the same work must agree.

Three of them do: long batches (throughput), one-call batches whose content appears after the call before is done (serial), and
the device's own time stamps, which pass through the candidate's process. A call alone cannot be faster than a call among many,
or the batch's time does not hold its work. A call among many that is much faster than alone, where the baseline's is not, lives
on its neighbours: several calls' work done in one, or begun before it was due. And time stamps that leave much of the judge's
time unexplained, more than launches cost, are not believed. Nor are those that tell of more than the judge saw: no batch was
longer in kernels than from its gate to its end. Where time stamps decide (another process computes on the GPU) that is the one
thing asked: a batch and a call alone then hold the neighbour's turns, which are nobody's fault. Blind spot: overlap of calls
that the baseline has as well; calls of a few microseconds, which may share work within the slack; forged stamps within theirs,
which gain no more than it. Where another process takes turns on the GPU, a batch of one call waits for a turn or not: what
empty batches differ by is allowed on top, and says little then about short calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge
    from aisp_runner.statistics import Estimate


@dataclass(frozen=True)
class ClockAgreement(Protection):
    id = "timing.clock_agreement"
    covers = (
        "timing.profiler_overhead",
        "timing.event_timing_gaps",
        "timing.incomplete_async_ops",
        "workload.undeclared_shortcuts",
    )

    least: float = 0.8
    """A call alone takes at least this share of a call among many, times the baseline's own share where that is less: a
    neighbour on the GPU shares long batches and leaves short ones alone.
    """
    overlap: float = 2.0
    """The quickest call alone may take this many times a call among many, and the baseline's excess on top."""
    serial_slack_us: float = 15.0
    """And this much more: a call alone pays for a cold instruction cache and a context switch."""
    stamps_slack: float = 0.1
    """Share of the judge's time a call that time stamps may leave unexplained."""
    launch_us: float = 2.0
    """And this much a kernel: the gap between launches, 0.1 us in a graph and 0.95 us on a stream of an H200."""

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        from aisp_runner.statistics import estimate

        made = judge.measured
        if made is None or not made.rounds:
            return []
        bounds = self._bounds(judge)
        if made.stamped:
            return bounds
        sealed = estimate(made.rounds, made.schedule.calls)
        late_us = _late_us(judge)
        slack_us = self.serial_slack_us + made.unsettled_ns / 1e3
        found = self._serial(made.serial, sealed, late_us, slack_us) if made.serial.get("candidate") else []
        if made.busy:
            found.append(self._stamps(estimate(made.busy, made.schedule.calls), sealed, made.kernels))
        return found + bounds

    def _bounds(self, judge: Judge) -> list[Evidence]:
        """By arm: the batch of which time stamps tell most, held against the judge's clock."""
        from aisp_runner.sharing import most_told, profiled, told_ns

        found = []
        for arm in ("baseline", "candidate", "control"):
            if (batch := most_told(profiled(judge.batches, arm))) is None:
                continue
            told, seen = told_ns(batch) / 1e3, batch.elapsed_ns / 1e3
            said = f"time stamps tell of {told:.1f} us in a batch that took {seen:.1f} us by the judge's clock"
            found.append(self.found("conclude", told <= seen, said, f"at most {seen:.1f} us", arm))
        return found

    def _serial(self, serial: dict[str, list[float]], sealed: Estimate, late_us: float, slack: float) -> list[Evidence]:
        from aisp_runner.statistics import median

        alone = {arm: median(ns) / 1e3 for arm, ns in serial.items()}
        among = {arm: sealed.arms_ns[arm] / 1e3 for arm in alone}
        quickest_us = min(serial["candidate"]) / 1e3
        said = f"a call alone takes {alone['candidate']:.1f} us, among many {among['candidate']:.1f} us"
        excess = max(0.0, alone["baseline"] - among["baseline"])
        most = self.overlap * among["candidate"] + excess + slack
        share = min(1.0, alone["baseline"] / among["baseline"])
        least = self.least * share * (among["candidate"] - late_us) - slack
        return [
            self.found("conclude", alone["candidate"] >= least, said, f"alone at least {max(0.0, least):.1f} us", "candidate"),
            self.found("conclude", quickest_us <= most, said, f"alone at most {most:.1f} us", "candidate"),
        ]

    def _stamps(self, device: Estimate, sealed: Estimate, kernels: dict[str, float]) -> Evidence:
        told, seen = device.candidate_ns / 1e3, sealed.candidate_ns / 1e3
        limit = told / (1 - self.stamps_slack) + self.launch_us * kernels.get("candidate", 1.0)
        said = f"time stamps tell of {told:.2f} us a call, the judge's clock of {seen:.2f} us"
        return self.found("conclude", seen <= limit, said, f"at most {limit:.2f} us by the judge's clock", "candidate")


def _late_us(judge: Judge) -> float:
    """By how much a call among many may seem too long because the judge was kept from seeing its batch end, us."""
    timed = [b for b in judge.batches if b.timed and b.arm == "candidate" and b.calls]
    longest = max((b.calls for b in timed), default=0)
    late = [(b.unseen_ns or 0) / b.calls for b in timed if b.calls == longest]
    return sum(late) / len(late) / 1e3 if late else 0.0
