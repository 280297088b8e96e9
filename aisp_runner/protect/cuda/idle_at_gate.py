"""Nothing of a worker's runs on the GPU while the gate is shut.

Once the calls are enqueued behind the gate, and before the content is revealed, the judge times a small operation of its own. A
kernel that is there already, waiting for what the calls will ask of it, makes it wait its turn. The median over the candidate's
batches is held against the baseline's; where time stamps decide, since another process computes there, waiting for a turn is
allowed on top. Blind spot: mode wall, in which there is no gate; work within the slack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge


@dataclass(frozen=True)
class IdleAtGate(Protection):
    id = "cuda.idle_at_gate"
    covers = ("cuda.persistent_kernel",)
    needs = "cuda"

    slack_us: float = 100.0
    """Above 1.25 times the baseline's median, us."""

    def judge_armed(self, judge: Judge, batch: Batch) -> None:
        if batch.gated:
            batch.idle_ns = max(judge.device.after_done(()))

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        from aisp_runner.sharing import turn_us
        from aisp_runner.statistics import median

        took: dict[str, list[float]] = {"baseline": [], "candidate": []}
        for batch in judge.batches:
            if batch.timed and batch.calls and batch.idle_ns is not None and batch.arm in took:
                took[batch.arm].append(batch.idle_ns / 1e3)
        if not took["baseline"] or not took["candidate"]:
            return None
        usual, own = median(took["baseline"]), median(took["candidate"])
        limit = 1.25 * usual + self.slack_us + turn_us(judge)
        observed = f"while the candidate's gate was shut the judge's operation took {own:.0f} us (median)"
        return self.found("conclude", own <= limit, observed, f"{limit:.0f} us", "candidate")
