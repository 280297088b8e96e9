"""The judge's clock over whole batches bounds the claim.

A slope between short and long batches removes the cost of the handshake, and invites a cheat: make the short batches slow, and the slope shrinks. So the
candidate's time a call is its long batch less the baseline's handshake, which no padding can lower, and a candidate whose own slope claims much more than
that is refused. The quietest long and short batches are used, since noise only lengthens. Blind spot: a claim within the slack.
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

    slack: float = 0.25
    """Share of a long batch by which a candidate's fixed cost may exceed the baseline's."""
    cuda_slack_us: float = 40.0
    cpu_slack_us: float = 400.0
    """And this much in any case: first-call costs, and the jitter of waking up on a CPU."""

    def judge_conclude(self, judge: Judge) -> Evidence:
        quietest: dict[tuple[str, int], int] = {}
        for b in judge.batches:
            if b.round >= 0:
                quietest[b.arm, b.calls] = min(b.elapsed_ns, quietest.get((b.arm, b.calls), b.elapsed_ns))
        (short, short_ns), (long, long_ns) = sorted((n, ns) for (arm, n), ns in quietest.items() if arm == "candidate")
        fixed_us = (long_ns - long * (long_ns - short_ns) / (long - short)) / 1e3
        floor = self.cuda_slack_us if judge.device.name == "cuda" else self.cpu_slack_us
        limit_us = quietest["baseline", 0] / 1e3 + max(floor, self.slack * long_ns / 1e3)
        observed = f"a batch costs the candidate {fixed_us:.0f} us beyond its calls, by its own slope"
        return self.found("conclude", fixed_us <= limit_us, observed, f"{limit_us:.0f} us", "candidate")
