"""Nobody works on the GPU in the baseline's turns who leaves it alone in the candidate's.

Contexts of several processes take turns on a GPU, a millisecond or two each, so work in one makes every other wait. While
another arm runs, the candidate's threads are frozen; a kernel that it has left running is not, nor is a process that it has
started in a session of its own. Right after DONE the judge times a small operation of its own: after the baseline it takes no
longer than after the candidate. A neighbour who is always there slows both, and the interval tells; where time stamps decide
for its sake, waiting for a turn is allowed on top. Blind spot: work that is over before the judge's operation starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class SingleContext(Protection):
    id = "cuda.single_context"
    covers = ("cuda.context_switch_overhead", "statistical.background_process_noise")
    needs = "cuda"

    times: float = 3.0
    """How many times the candidate's median the baseline's may be."""
    slack_us: float = 100.0
    """And this much in any case, us."""

    def judge_conclude(self, judge: Judge) -> Evidence:
        from aisp_runner.sharing import turn_us
        from aisp_runner.statistics import median

        drains: dict[str, list[float]] = {"baseline": [], "candidate": []}
        for batch in judge.batches:
            if batch.timed and batch.calls and batch.arm in drains:
                drains[batch.arm].append(batch.drain_ns / 1e3)
        theirs, own = median(drains["baseline"]), median(drains["candidate"])
        observed = (
            f"the judge's next operation took {theirs:.0f} us after the baseline's batches and {own:.0f} us after the "
            "candidate's (medians)"
        )
        limit = self.times * own + self.slack_us + turn_us(judge)
        return self.found("conclude", theirs <= limit, observed, f"{limit:.0f} us after the baseline's")
