"""Every batch that was issued is in the sample with the time that the clock gave, and every one in the sample was issued.

The judge numbers the batches it issues and notes their times as it reads them; the speed-up may be concluded only from all
rounds, each with all of its batches, in every set of processes, and from no other value than theirs. Nothing is dropped as an
outlier; rounds whose arms ran at different clocks are, before their times are looked at, and are counted. Blind spot: a run
that is thrown away whole and repeated until it pleases; records of one plan are appended, never replaced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import PASS, Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.statistics import Round


@dataclass(frozen=True)
class WholeSample(Protection):
    id = "statistical.whole_sample"
    covers = (
        "statistical.cherry_picking",
        "statistical.outlier_injection",
        "statistical.cold_start_inclusion",
        "statistical.insufficient_samples",
    )
    essential = True

    def judge_conclude(self, judge: Judge) -> Evidence:
        counted, clocked = self.counted(judge), self.as_clocked(judge)
        ok = counted.status == clocked.status == PASS
        return self.found("conclude", ok, f"{counted.observed}; {clocked.observed}", f"{counted.limit}; {clocked.limit}")

    def counted(self, judge: Judge) -> Evidence:
        """Every batch that was issued is there once, in whole rounds."""
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

    def as_clocked(self, judge: Judge) -> Evidence:
        """Times are what the clock gave, and the rounds that the speed-up comes from are those times."""
        timed = [b for b in judge.batches if b.timed]
        altered = sum(judge.clocked.get(b.sequence) != (b.purpose, b.round, b.arm, b.issued_ns, b.done_ns) for b in timed)
        own, used = rounds_of(judge, timed), judge.measured.rounds if judge.measured else []
        other = sum(a != b for a, b in zip(own, used, strict=False)) + abs(len(own) - len(used))
        observed = f"{altered} of {len(timed)} batches are not as clocked, {other} of {len(used)} rounds are not theirs"
        stamped = self.as_stamped(judge)
        observed += f"; {stamped.observed}" if stamped else ""
        ok = not (altered or other) and (stamped is None or stamped.status == PASS)
        return self.found("conclude", ok, observed, "every value as it was read")

    def as_stamped(self, judge: Judge) -> Evidence | None:
        """The same of the rounds of time stamps, where those decide."""
        from aisp_runner.statistics import stamped_rounds

        made, wanted = judge.measured, judge.case.measure
        if made is None or not made.stamped:
            return None
        told = [b for b in judge.batches if b.purpose == "device"]
        own = stamped_rounds((b.process, b.round, b.arm, (b.device or {}).get("quarter_ns", 0.0)) for b in told)
        other = sum(a != b for a, b in zip(own, made.stamped, strict=False)) + abs(len(own) - len(made.stamped))
        issued = sum(n for (_, purpose, _, _, _), n in judge.issued.items() if purpose == "device")
        left_out = abs(issued - 2 * len(judge.cast.roles) * len(made.stamped))
        by_process = Counter(r.process for r in made.stamped)
        few = len(by_process) < wanted.processes or min(by_process.values()) < wanted.min_rounds
        observed = f"{left_out} of {issued} batches with time stamps are left out, {other} of {len(own)} rounds are not theirs"
        return self.found("conclude", not (other or left_out or few), observed, "all, as they were told")


def rounds_of(judge: Judge, timed: list[Batch]) -> list[Round]:
    """What the batches of the rounds amount to, in the order in which the rounds were run."""
    from aisp_runner.statistics import Round

    if judge.measured is None:
        return []
    calls = judge.measured.schedule.calls
    grouped: dict[tuple[int, int], list[Batch]] = {}
    for b in timed:
        grouped.setdefault((b.round, b.process), []).append(b)
    made = []
    for (_, process), batches in sorted(grouped.items()):
        empty = next((float(b.elapsed_ns) for b in batches if not b.calls), -1.0)
        short: dict[str, float] = {}
        long: dict[str, tuple[float, ...]] = {}
        for b in batches:
            few, many = calls.of(b.arm)
            if b.calls == many:
                long[b.arm] = (*long.get(b.arm, ()), float(judge.time_ns(b)))
            elif b.calls == few:
                short[b.arm] = float(judge.time_ns(b))
        made.append(Round(process, empty, short, long))
    return made
