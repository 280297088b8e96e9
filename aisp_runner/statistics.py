"""From neighbouring batches to a speed-up with an interval. Pure functions of lists.

The long batches of a round are a palindrome (A B C C B A), rotated from round to round: a linear drift cancels within a round,
and what a place or the batch before costs cancels over as many rounds as there are arms. A process gives the
Hodges-Lehmann centre of its neighbours' ratios, of the quiet neighbours where others are at work; the interval is Student's
over the processes, because two processes that run the same code differ by more than their rounds do. docs/measurement.md has
the reasons, the sources and the simulations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from aisp_runner.intervals import (
    CONFIDENCE,
    NORMAL_MAD,
    Interval,
    centre,
    deviation,
    mean_interval,
    median,
    median_interval,
    reach,
    sign_rank,
    student,
)

__all__ = [
    "Calls", "Estimate", "Interval", "Round", "by_stamps", "detectable", "deviation", "estimate", "mean_interval", "median",
    "median_interval", "order", "sign_rank", "stamped_rounds", "student",
]  # fmt: skip

QUIET = 4.0
"""A pair of batches is loud when it took longer than its process's fastest pair by more than this many times what a quarter of
all pairs stay below.
"""
CLEARLY = 0.9
"""Quiet pairs are preferred to all of them where their standard error is below this part of the others'."""
ENOUGH = 6
"""Values that a sign test needs for an interval of 95 %."""
PARTIAL = 2.6
"""Loud pairs favour an arm when their signs add up to more than this many standard deviations: 1 % of fair ones do."""

Pairs = tuple[tuple[tuple[float, float], ...], ...]
"""ln of the times a call of neighbouring batches, baseline and another arm, by process."""


def order(number: int, arms: Sequence[str]) -> tuple[str, ...]:
    """Arms in the order in which the first half of a round runs them; the second half is the reverse. Three arms give
    A B C | C B A, then B C A | A C B, then C A B | B A C.

    number: the round's, plus the process's, so that every arm has had every place after few rounds of several processes. Merely
    reversing every other round would leave B in the middle: what the first place costs would look like a faster B, and a
    control in the place of C would not show it.
    """
    turn = number % len(arms)
    return (*arms[turn:], *arms[:turn])


@dataclass(frozen=True)
class Round:
    """Times of one round in one set of processes, ns."""

    process: int
    """Which set of fresh processes, from 0."""
    empty_ns: float
    """A batch of the baseline without calls."""
    short_ns: Mapping[str, float]
    """A short batch of baseline and candidate; empty where none was run."""
    long_ns: Mapping[str, tuple[float, ...]]
    """Both long batches of each arm, in the order they ran: baseline, candidate and, where there is one, control."""


@dataclass(frozen=True)
class Calls:
    """Calls of a short and a long batch, by arm."""

    baseline: tuple[int, int]
    candidate: tuple[int, int]

    def of(self, arm: str) -> tuple[int, int]:
        """The control is a second baseline."""
        return self.candidate if arm == "candidate" else self.baseline


@dataclass(frozen=True)
class Estimate:
    """What the clock that decides says of a case: the judge's, or the device's time stamps."""

    by_process: tuple[tuple[float, ...], ...]
    """ln(baseline / candidate) of the neighbours that decided, by process: the k-th long batch of the baseline in a round and
    the candidate's k-th. NaN where a time was not positive.
    """
    speedup: Interval | None
    """None where the clock cannot tell: a time a call was not positive."""
    control: Interval | None
    """The same for baseline against baseline (A/A), whose true value is 1. None without a control."""
    mde: float | None
    """Minimum detectable effect, as a fraction: a repetition of this run would find it 4 times of 5. None with one process."""
    naive: float
    """The speed-up by each arm's own slope: what a harness would say that trusts the candidate's short batches."""
    handshake_ns: float
    """What a batch costs beyond its calls: the median of the baseline's empty batches."""
    baseline_ns: float
    candidate_ns: float
    """Median time a call, of the batches that decided."""
    arms_ns: dict[str, float] = field(default_factory=dict)
    """The same by arm, and that of all of the control's batches."""
    scatter: float = math.inf
    """Half the width that the interval of ln(speed-up) would have if processes did not differ: what more rounds can narrow."""
    used: float = 1.0
    """Share of the neighbours that decided; the others were loud."""

    @property
    def floor(self) -> float:
        """The noise floor: how far the control is from 1, or could be. 0 without a control."""
        if self.control is None:
            return 0.0
        return max(abs(math.log(self.control.value)), math.log(self.control.high / self.control.low) / 2)

    @property
    def half_width(self) -> float:
        """Half the width of the interval of ln(speed-up); infinite where the clock cannot tell."""
        return math.log(self.speedup.high / self.speedup.low) / 2 if self.speedup else math.inf

    def enough(self, half_width: float) -> bool:
        """Whether rounds may stop: by their own scatter the interval of ln(speed-up) is at most this wide on either side.

        A rule that looked at the interval itself would pick a moment when few processes happen to agree, and its interval would
        hold the truth too rarely (docs/measurement.md has by how much).
        """
        return self.scatter <= half_width


def estimate(rounds: Sequence[Round], calls: Calls, sealed: bool = True) -> Estimate:
    """The speed-up over all rounds. Raises ValueError for none.

    A time a call is a long batch less the handshake, over its calls. The handshake comes from the *baseline's* empty batches,
    so that a candidate that pads its own short ones gains nothing (docs/sealed-clock.md). `sealed=False` is the plain slope
    between each arm's short and long batches, which trusts the candidate.
    """
    handshake = median([r.empty_ns for r in rounds])
    times = [_times(r, calls, handshake, sealed) for r in rounds]
    arms = sorted(times[0])
    pairs = _pairs(rounds, times, "candidate")
    ratios = _decisive(pairs)
    own = [{arm: _slope(r, arm, calls) for arm in ("baseline", "candidate")} for r in rounds if r.short_ns]
    own_b, own_c = (median([o[arm] for o in own]) if own else math.nan for arm in ("baseline", "candidate"))
    medians = {arm: median([ns for t in times for ns in t[arm]]) for arm in arms}
    if ratios.told:  # the times of the pairs that decided, so that they agree with the speed-up
        medians |= {"baseline": ratios.typical_ns(0), "candidate": ratios.typical_ns(1)}
    control = _decisive(_pairs(rounds, times, "control")).interval() if "control" in arms else None
    return Estimate(
        by_process=ratios.values,
        speedup=ratios.interval(),
        control=control,
        mde=detectable(ratios.centres),
        naive=own_b / own_c if own_c > 0 else math.inf,
        handshake_ns=handshake,
        baseline_ns=medians["baseline"],
        candidate_ns=medians["candidate"],
        arms_ns=medians,
        scatter=ratios.scatter(),
        used=sum(map(len, ratios.values)) / sum(map(len, pairs)),
    )


def by_stamps(rounds: Sequence[Round], sealed: Estimate) -> Estimate:
    """The speed-up by the device's time stamps, whose rounds hold times a call. What the judge's clock says of batches without
    calls, and of the slope that a plain harness would use, is still the sealed one's.
    """
    one = Calls((1, 1), (1, 1))
    return replace(estimate(rounds, one), handshake_ns=sealed.handshake_ns, naive=sealed.naive)


def stamped_rounds(told: Iterable[tuple[int, int, str, float]]) -> list[Round]:
    """The whole rounds among times a call by time stamps, in the order they were run: two of each arm that there is.

    told: process, round, arm, ns.
    """
    grouped: dict[tuple[int, int], dict[str, tuple[float, ...]]] = {}
    for process, number, arm, ns in told:
        times = grouped.setdefault((number, process), {})
        times[arm] = (*times.get(arm, ()), float(ns))
    arms = {"baseline", "candidate"}.union(*grouped.values())
    whole = [key for key, times in grouped.items() if times.keys() == arms and all(len(ns) == 2 for ns in times.values())]
    return [Round(process, 0.0, {}, grouped[number, process]) for number, process in sorted(whole)]


def detectable(centres: Sequence[float]) -> float | None:
    """Minimum detectable effect of a Student interval over these centres of processes (ln ratios), as a fraction; see `reach`.

    None for fewer than two of them, or where the clock cannot tell.
    """
    if len(centres) < 2 or any(math.isnan(c) for c in centres):
        return None
    return math.expm1(reach(len(centres) - 1) * deviation(centres) / math.sqrt(len(centres)))


def _times(r: Round, calls: Calls, handshake: float, sealed: bool) -> dict[str, tuple[float, ...]]:
    """Time a call of each long batch, ns, by arm."""
    found = {}
    for arm, batches in r.long_ns.items():
        own = math.nan if sealed or arm not in r.short_ns else _slope(r, arm, calls)
        trusted = (own if own > 0 else sum(batches) / len(batches) / calls.of(arm)[1],) * len(batches)
        found[arm] = tuple((ns - handshake) / calls.of(arm)[1] for ns in batches) if sealed else trusted
    return found


def _slope(r: Round, arm: str, calls: Calls) -> float:
    short, long = calls.of(arm)
    return (sum(r.long_ns[arm]) / len(r.long_ns[arm]) - r.short_ns[arm]) / (long - short)


def _pairs(rounds: Sequence[Round], times: Sequence[Mapping[str, tuple[float, ...]]], arm: str) -> Pairs:
    """Neighbours of baseline and arm: the k-th long batch of either in a round, in the order they were measured."""
    grouped: dict[int, list[tuple[float, float]]] = {}
    for r, t in zip(rounds, times, strict=True):
        grouped.setdefault(r.process, []).extend(
            (math.log(first), math.log(second)) if first > 0 and second > 0 else (math.nan, math.nan)
            for first, second in zip(t["baseline"], t[arm], strict=True)
        )
    return tuple(tuple(pairs) for _, pairs in sorted(grouped.items()))


@dataclass(frozen=True)
class _Ratios:
    """ln(baseline / arm) by process, and what they say."""

    pairs: Pairs
    values: tuple[tuple[float, ...], ...]
    centres: tuple[float, ...]
    error: float
    """Standard error of the centres' mean if processes did not differ, by the median absolute deviation of values from their
    own process's centre. Infinite for processes of one value each, NaN where the clock cannot tell.
    """

    @staticmethod
    def of(pairs: Pairs) -> _Ratios:
        values = tuple(tuple(first - second for first, second in own) for own in pairs)
        centres = tuple(map(centre, values))
        total, processes = sum(map(len, values)), len(values)
        if total <= processes:
            return _Ratios(pairs, values, centres, math.inf)
        away = [abs(v - middle) for own, middle in zip(values, centres, strict=True) for v in own]
        spread = NORMAL_MAD * median(away) * math.sqrt(total / (total - processes))
        return _Ratios(pairs, values, centres, spread * math.sqrt(sum(1 / len(own) for own in values)) / processes)

    @property
    def told(self) -> bool:
        """Whether every time was positive."""
        return not any(math.isnan(c) for c in self.centres)

    def typical_ns(self, which: int) -> float:
        """Median time a call of the first or the second of each pair."""
        return math.exp(median([pair[which] for own in self.pairs for pair in own]))

    def interval(self) -> Interval | None:
        """Student's over the processes' centres; for one process the sign test's, over its values."""
        if not self.told:
            return None
        return (median_interval(self.values[0]) if len(self.values) == 1 else mean_interval(self.centres)).exp()

    def scatter(self) -> float:
        """See Estimate.scatter."""
        degrees = len(self.values) - 1 if len(self.values) > 1 else max(1, len(self.values[0]) - 1)
        return student((1 + CONFIDENCE) / 2, degrees) * self.error if self.told else math.inf


def _decisive(pairs: Pairs) -> _Ratios:
    """Those of all pairs, or of the quiet ones where they scatter clearly less and the loud ones favour no arm. The choice
    looks at the scatter within processes only, so that it cannot make processes agree.
    """
    everything = _Ratios.of(pairs)
    if not everything.told or min(map(len, pairs)) < 2:
        return everything
    quiet = _Ratios.of(_quiet(pairs))
    if len(pairs) == 1 and len(quiet.values[0]) < ENOUGH:
        return everything
    return quiet if quiet.error < CLEARLY * everything.error and _impartial(pairs, quiet) else everything


def _quiet(pairs: Pairs) -> Pairs:
    """The pairs that took little longer than their process's fastest one; at least the two fastest of each process.

    A pair is chosen by the sum of its two times, which says nothing of their difference where noise hits both arms alike.
    """
    sums = [[first + second for first, second in own] for own in pairs]
    excess = sorted(total - min(own) for own in sums for total in own)[len(sums) :]  # without each process's own fastest
    limit = QUIET * excess[(len(excess) - 1) // 4]
    kept = []
    for own, totals in zip(pairs, sums, strict=True):
        most = max(min(totals) + limit, sorted(totals)[1])
        kept.append(tuple(pair for pair, total in zip(own, totals, strict=True) if total <= most))
    return tuple(kept)


def _impartial(pairs: Pairs, quiet: _Ratios) -> bool:
    """Whether what made the loud pairs loud favours no arm: as often as not they lie on either side of the quiet ones' centre.
    A candidate that is slow by itself in most batches is not to be judged by its few fast ones.
    """
    sides = [
        1 if first - second > middle else -1
        for own, few, middle in zip(pairs, quiet.pairs, quiet.centres, strict=True)
        for first, second in own
        if (first, second) not in few
    ]
    return abs(sum(sides)) <= PARTIAL * math.sqrt(len(sides))
