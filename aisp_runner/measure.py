"""From loaded workers to samples: warm up, find how many calls a batch needs, then interleave the arms round by round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aisp_runner.arm import ArmTimeout
from aisp_runner.errors import WorkerFault
from aisp_runner.judge import ARMS, Batch, Judge
from aisp_runner.statistics import Pair, estimate, half_width

GATED_CALLS = 400
"""Calls of a gated batch at most: the queue behind a gate holds about 1,020 launches."""

SHORT_PART = 5
"""A long batch has this many times the calls of a short one."""


@dataclass(frozen=True)
class Schedule:
    """How batches of a case are run, the same for both arms."""

    short: int
    long: int
    gated: bool
    reason: str
    """Why the gate is not used, or ""."""


def calibrate(judge: Judge) -> Schedule:
    """Warms both arms up on throwaway content and finds the number of calls a batch. Raises WorkerFault.

    Every slot that will be timed is visited at least once, ungated, so that lazy loading, compiling and per-address set-up are over.
    """
    case, wanted = judge.case, judge.case.measure
    per_call = _warm_up(judge)
    gated = case.device == "cuda" and case.claim == "kernel"
    if wanted.calls:
        short, long = wanted.calls
        long = min(long, judge.slots)
    else:
        aim = (wanted.batch_gpu_ms if case.device == "cuda" else wanted.batch_ms) * 1e6
        limit = min(judge.slots, GATED_CALLS) if gated else judge.slots
        long = max(2, min(limit, round(aim / per_call)))
        short = max(1, long // SHORT_PART)
    _batch_pair(judge, long, long, gated=False)
    reason = "" if gated else ("the claim is wall time" if case.device == "cuda" else "")
    while gated:
        try:
            _batch_pair(judge, long, long, gated=True)
            break
        except ArmTimeout:
            if wanted.calls or long <= 8:
                gated, reason = False, "calls could not be enqueued behind the gate: they wait for the device or launch too much"
            else:
                long = max(2, long // 4)
                short = max(1, long // SHORT_PART)
    return Schedule(min(short, long - 1), long, gated, reason)


def _warm_up(judge: Judge) -> float:
    """Runs growing batches; gives the geometric mean of the arms' time a call, ns."""
    aim = judge.case.measure.batch_gpu_ms if judge.case.device == "cuda" else judge.case.measure.batch_ms
    _batch_pair(judge, 1, 1, gated=False)
    calls, times = 1, {}
    while True:
        calls = min(judge.slots, calls * 4)
        batches = _batch_pair(judge, calls, calls, gated=False)
        times = {b.arm: b.elapsed_ns / calls for b in batches}
        if calls == judge.slots or max(b.elapsed_ns for b in batches) > aim * 1e6 / 4:
            return float(max(1.0, (times["baseline"] * times["candidate"]) ** 0.5))


def _batch_pair(judge: Judge, calls: int, window: int, gated: bool, round_: int = -1, swap: bool = False) -> list[Batch]:
    """One batch of each arm on the same new content, verified."""
    judge.draw(calls)
    batches = [judge.run(arm, calls, window, gated, round_) for arm in (reversed(ARMS) if swap else ARMS)]
    judge.verify(batches)
    return batches


def measure(judge: Judge, schedule: Schedule, progress: Callable[[int, int], None]) -> list[Pair]:
    """Rounds until the interval is narrow enough, the time is up, or the rounds are. Raises WorkerFault.

    A round is a short and a long batch of each arm; which arm goes first alternates (A B, B A, ...), and both see the same content. progress is told
    (round, rounds).
    """
    wanted, start, pairs = judge.case.measure, time.monotonic(), list[Pair]()
    for number in range(wanted.rounds):
        swap, elapsed = number % 2 == 1, {}
        for calls in (schedule.short, schedule.long):
            try:
                batches = _batch_pair(judge, calls, schedule.long, schedule.gated, number, swap)
            except ArmTimeout as stuck:
                message = f"{judge.batches[-1].arm}'s calls stopped fitting behind the gate in round {number}"
                raise WorkerFault("candidate", "hung", message) from stuck
            elapsed |= {(b.arm, calls): float(b.elapsed_ns) for b in batches}
        pairs.append(Pair(*(elapsed[arm, calls] for arm in ARMS for calls in (schedule.short, schedule.long))))
        progress(number + 1, wanted.rounds)
        if number + 1 < wanted.min_rounds:
            continue
        width = half_width(estimate(pairs, (schedule.short, schedule.long)).log_ratios)
        if width <= wanted.half_width or time.monotonic() - start > wanted.seconds or judge.refused():
            break
    return pairs
