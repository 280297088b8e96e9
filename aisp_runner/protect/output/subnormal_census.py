"""Answers that are subnormal are not all given as zero.

Arithmetic on subnormal numbers is slow on many CPUs, and a variant that flushes them to zero saves it: what is lost is smaller
than any `atol` that is not zero. Elements of float32 and float64 outputs whose true answer is subnormal are counted, and those
of them that are exactly zero; the baseline's share is the measure. Blind spot: subnormal numbers on the way to a normal answer;
content that makes none, about which it is silent; a baseline that flushes as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class SubnormalCensus(Protection):
    id = "output.subnormal_census"
    covers = ("output.denormalized_values",)

    share: float = 0.25
    """How much more of its subnormal answers the candidate may flush than the baseline, as a fraction."""
    least: float = 0.001
    """Share of the checked elements that must be subnormal before anything is refused: fewer gain nothing."""

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        elements, subnormal, flushed = (
            {arm: sum(getattr(c, key) for c in judge.comparisons if c.arm == arm) for arm in ("baseline", "candidate")}
            for key in ("elements", "subnormal", "flushed")
        )
        if not all(subnormal.values()):
            return None
        base, own = (flushed[arm] / subnormal[arm] for arm in ("baseline", "candidate"))
        rare = subnormal["candidate"] < self.least * elements["candidate"]
        observed = (
            f"{own:.0%} of {subnormal['candidate']} subnormal answers are exactly zero (the baseline's: {base:.0%}), "
            f"among {elements['candidate']} checked elements"
        )
        return self.found("conclude", rare or own <= base + self.share, observed, f"{base + self.share:.0%}", "candidate")
