"""Every batch that was issued is in the sample, and every one in the sample was issued.

The judge numbers the batches it issues; the speed-up may be concluded only from all rounds, each with all of its batches, in
every set of processes. Nothing is dropped as an outlier; rounds whose arms ran at different clocks are, before their times are
looked at, and are counted. Blind spot: a run that is thrown away whole and repeated until it pleases; records of one
plan are appended, never replaced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class WholeSample(Protection):
    id = "statistical.whole_sample"
    covers = ("statistical.cherry_picking", "statistical.outlier_injection", "statistical.insufficient_samples")
    essential = True

    def judge_conclude(self, judge: Judge) -> Evidence:
        wanted, roles = judge.case.measure, len(judge.cast.roles)
        issued: Counter[tuple[int, int, str, int]] = Counter()
        for (process, purpose, number, arm, calls), n in judge.issued.items():
            if purpose == "round":
                issued[process, number, arm, calls] += n
        counted = Counter((b.process, b.round, b.arm, b.calls) for b in judge.batches if b.timed)
        dropped = Counter((b.process, b.round, b.arm, b.calls) for b in judge.batches if b.purpose == "dropped")
        missing, extra = (sum(odd.values()) for odd in (issued - counted - dropped, counted + dropped - issued))
        sizes = Counter((process, number) for process, number, _, _ in counted.elements())
        uneven = sum(1 for (process, _), n in sizes.items() if n != 1 + 2 * roles + (2 if process == 0 else 0))
        by_process = Counter(process for process, _ in sizes)
        too_few = len(by_process) < wanted.processes or min(by_process.values(), default=0) < wanted.min_rounds
        observed = (
            f"{sum(counted.values())} samples of {sum(issued.values())} batches issued, {missing} missing, "
            f"{extra} unexplained, {sum(dropped.values())} dropped, {len(sizes)} rounds in {len(by_process)} sets of "
            f"processes, {uneven} incomplete"
        )
        limit = f"all, once, in {wanted.min_rounds} rounds or more of {wanted.processes} sets"
        return self.found("conclude", not (missing or extra or uneven or too_few), observed, limit)
