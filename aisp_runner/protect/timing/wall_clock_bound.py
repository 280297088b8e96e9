"""The judge's clock over whole batches bounds the claim.

A slope between short and long batches removes the cost of the handshake, and invites a cheat: make the short batches slow, and
the slope shrinks. So the candidate's time a call is its long batch less the *baseline's* handshake, which no padding can lower,
and a candidate whose own slope leaves much of a batch unexplained is refused. So is one that finishes its calls no later than
the baseline finishes none: its work is not inside the batch. Padding shows in every round and noise does not, so the lower end
over the rounds counts, against the baseline's upper quartile. In fewer than five rounds noise looks like either: padding is let
pass, which gains nothing there, since the candidate's short batches do not enter the speed-up; and a batch that is done too
early is no refusal, but nothing that may pass a gate. Where the device's time stamps decide, the claim is theirs, and what
bounds it is each batch that they are of: a neighbour's turns are in every batch and make it no shorter. Blind spot: a claim
within the slack; time stamps that tell of too little.
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
    covers = (
        "timing.event_timing_gaps",
        "timing.clock_drift",
        "timing.timer_granularity",
        "timing.unsynced_streams",
        "timing.incomplete_async_ops",
        "evaluation.eval_code_exploitation",
    )
    essential = True

    slack: float = 0.2
    """Share of a long batch that a candidate's own slope may leave unexplained."""
    cuda_slack_us: float = 40.0
    cpu_slack_us: float = 150.0
    """And this much in any case: first-call costs, and the jitter of waking up on a CPU."""
    sure: float = 0.9
    """Confidence of the lower end over the rounds from which on it refuses: 5 rounds. With fewer, noise can look like
    padding.
    """
    least: float = 0.6
    """A long batch takes at least this share of the baseline's empty one."""

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        from aisp_runner.statistics import median, median_interval

        if judge.measured is not None and judge.measured.stamped:
            return [self._stamps(judge)]
        timed = [b for b in judge.batches if b.timed and b.process == 0]
        arms = ("baseline", "candidate")
        batches = {arm: [(b.round, b.calls, b.elapsed_ns / 1e3) for b in timed if b.arm == arm] for arm in arms}
        empty = sorted(us for _, calls, us in batches["baseline"] if calls == 0)
        long = {arm: _longest(batches[arm]) for arm in arms}
        cuda = judge.device.name == "cuda"
        usual_us = max(empty[0], _upper_quartile(_fixed(batches["baseline"])))
        limit_us = usual_us + max(self.cuda_slack_us if cuda else self.cpu_slack_us, self.slack * min(long["candidate"]))
        fixed = median_interval(_fixed(batches["candidate"]))
        fixed_us = fixed.low
        padded = f"by its own slope a batch costs the candidate at least {fixed_us:.0f} us beyond its calls"
        spread_us = max(2.0 if cuda else 20.0, empty[3 * len(empty) // 4] - empty[len(empty) // 4])
        idle_us, work_us = (median(long[arm]) - median(empty) for arm in ("candidate", "baseline"))
        early = min(long["candidate"]) < self.least * empty[0] or (idle_us <= spread_us and work_us >= 5 * spread_us)
        times = (
            f"the candidate's long batch took {median(long['candidate']):.0f} us, a batch without calls {median(empty):.0f} us"
        )
        unsure = fixed.confidence < self.sure
        padding = self.found("conclude", fixed_us <= limit_us or unsure, padded, f"{limit_us:.0f} us", "candidate")
        if early and unsure:
            why = f"{times}: {len(empty)} rounds do not tell that from noise. Raise measure.min_rounds"
            return [padding, self.unavailable("conclude", why)]
        limit = f"calls take time (more than {spread_us:.0f} us)"
        return [padding, self.found("conclude", not early, times, limit, "candidate")]

    def _stamps(self, judge: Judge) -> Evidence:
        """The claim is the time stamps': every batch of the candidate's took at least as long as they say."""
        from aisp_runner.sharing import profiled, told_ns

        batches = profiled(judge.batches, "candidate")
        over = sum(told_ns(b) > b.elapsed_ns for b in batches)
        said = f"{over} of {len(batches)} batches took less by the judge's clock than their time stamps tell"
        return self.found("conclude", bool(batches) and not over, said, "none", "candidate")


def _upper_quartile(values: list[float]) -> float:
    """The value that a quarter of them lie above; the largest of fewer than four, 0 of none."""
    return sorted(values)[3 * len(values) // 4 if len(values) > 3 else -1] if values else 0.0


def _longest(batches: list[tuple[int, int, float]]) -> list[float]:
    """Times of the long batches, us."""
    most = max(calls for _, calls, _ in batches)
    return [us for _, calls, us in batches if calls == most]


def _fixed(batches: list[tuple[int, int, float]]) -> list[float]:
    """By round: what a batch costs beyond its calls, us, if the slope between the short and the long ones is the cost of a
    call.

    batches: round, calls, us.
    """
    rounds: dict[int, dict[int, list[float]]] = {}
    for number, calls, us in batches:
        if calls:
            rounds.setdefault(number, {}).setdefault(calls, []).append(us)
    found = []
    for by_calls in rounds.values():
        if len(by_calls) == 2:
            (short, few), (long, many) = sorted(by_calls.items())
            short_us, long_us = min(few), min(many)  # noise makes a batch longer, and a long one hides padding
            found.append(long_us - long * (long_us - short_us) / (long - short))
    return found
