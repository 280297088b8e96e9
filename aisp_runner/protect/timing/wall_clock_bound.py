"""The judge's clock over whole batches bounds the claim.

A slope between short and long batches removes the cost of the handshake, and invites a cheat: make the short batches slow,
and the slope shrinks. So the candidate's time a call is its long batch less the *baseline's* handshake, which no padding can
lower, and a candidate whose own slope leaves most of a batch unexplained is refused. So is one that finishes its calls sooner
than the baseline finishes none. The quietest batches are used, since noise only lengthens, and the baseline's own misfit
widens the limit. Blind spot: a claim within the slack, which gains nothing, since the candidate's short batches do not enter
the speed-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class WallClockBound(Protection):
    id = "timing.wall_clock_bound"
    covers = ("timing.event_timing_gaps", "timing.clock_drift", "timing.timer_granularity", "evaluation.eval_code_exploitation")
    essential = True

    slack: float = 0.2
    """Share of a long batch that a candidate's own slope may leave unexplained."""
    cuda_slack_us: float = 40.0
    cpu_slack_us: float = 150.0
    """And this much in any case: first-call costs, and the jitter of waking up on a CPU."""
    least: float = 0.6
    """A long batch takes at least this share of the baseline's empty one."""

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        from aisp_runner.statistics import median_interval

        batches = {
            arm: [(b.round, b.calls, b.elapsed_ns / 1e3) for b in judge.batches if b.arm == arm and b.round >= 0]
            for arm in judge.arms
        }
        empty_us = min(us for _, calls, us in batches["baseline"] if calls == 0)
        longest = max(calls for _, calls, _ in batches["candidate"])
        long_us = min(us for _, calls, us in batches["candidate"] if calls == longest)
        fixed_us = median_interval(_fixed(batches["candidate"])).low
        usual_us = max(empty_us, median_interval(_fixed(batches["baseline"])).value)
        floor_us = self.cuda_slack_us if judge.device.name == "cuda" else self.cpu_slack_us
        limit_us = usual_us + max(floor_us, self.slack * long_us)
        padded = f"by its own slope a batch costs the candidate at least {fixed_us:.0f} us beyond its calls"
        early = f"the candidate's long batch took {long_us:.0f} us, the baseline's empty one {empty_us:.0f} us"
        return [
            self.found("conclude", fixed_us <= limit_us, padded, f"{limit_us:.0f} us", "candidate"),
            self.found("conclude", long_us >= self.least * empty_us, early, f"{self.least * empty_us:.0f} us", "candidate"),
        ]


def _fixed(batches: list[tuple[int, int, float]]) -> list[float]:
    """By round: what a batch costs beyond its calls, us, if the slope between the short and the long one is the cost of a
    call.

    batches: round, calls, us.
    """
    rounds: dict[int, list[tuple[int, float]]] = {}
    for number, calls, us in batches:
        if calls:
            rounds.setdefault(number, []).append((calls, us))
    pairs = [sorted(pair) for pair in rounds.values() if len(pair) == 2]
    return [long_us - long * (long_us - short_us) / (long - short) for (short, short_us), (long, long_us) in pairs]
