"""From loaded workers to samples: warm up, find how many calls a batch needs, then interleave the arms round by round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aisp_runner.arm import ArmTimeout
from aisp_runner.device.base import slot_bytes
from aisp_runner.errors import WorkerFault
from aisp_runner.judge import ARMS, Batch, Judge
from aisp_runner.statistics import Calls, Round, estimate, half_width

GATED_CALLS = 400
"""Calls of a gated batch at most: the queue behind a gate holds about 1,020 launches."""

CONTENT_BYTES = 4 << 30
"""Inputs and outputs of a batch at most, unless calls are given: drawing and revealing more takes longer than timing it."""

SHORT_PART = 5
"""A long batch has this many times the calls of a short one."""

WALL_GPU_FACTOR = 4.0
"""Batches timed from the host on a GPU are this much longer than gated ones: their handshake varies by tens of microseconds."""


@dataclass(frozen=True)
class Schedule:
    """How batches of a case are run."""

    calls: Calls
    gated: bool
    reason: str
    """Why the gate is not used on a GPU, or ""."""


def calibrate(judge: Judge) -> Schedule:
    """Warms both arms up on throwaway content and finds the number of calls a batch. Raises WorkerFault.

    Every slot that will be timed is visited at least once, ungated, so that lazy loading, compiling and per-address set-up
    are over.
    """
    case = judge.case
    gated, reason = _gate(judge)
    aim_ns = _aim_ns(judge, gated)
    most = _most_calls(judge, gated)
    if case.measure.calls:
        _warm_up(judge, aim_ns, most)
        long = dict.fromkeys(ARMS, min(case.measure.calls[1], judge.slots))
    else:
        long = {arm: max(2, min(most, round(aim_ns / ns))) for arm, ns in _warm_up(judge, aim_ns, most).items()}
    _batches(judge, long, long, gated=False)
    while gated:
        try:
            for calls in (long, {arm: _short_and_long(case.measure.calls, n)[0] for arm, n in long.items()}):
                _batches(judge, calls, long, gated=True)
            break
        except ArmTimeout as full:
            gated = not case.measure.calls and max(long.values()) > 2
            if gated:
                long = {arm: max(2, n // 4) for arm, n in long.items()}
            else:
                reason = f"{full} launches more than fits behind the gate"
    return Schedule(Calls(*(_short_and_long(case.measure.calls, long[arm]) for arm in ARMS)), gated, reason)


def _most_calls(judge: Judge, gated: bool) -> int:
    """Calls of a long batch at most: slots, launches that fit behind the gate, and content that can be drawn quickly."""
    per_call = max(1, slot_bytes((*judge.case.inputs, *judge.case.outputs)))
    most = max(2, min(judge.slots, CONTENT_BYTES // per_call))
    return min(most, GATED_CALLS) if gated else most


def _short_and_long(wanted: tuple[int, int] | None, long: int) -> tuple[int, int]:
    return min(wanted[0] if wanted else max(1, long // SHORT_PART), long - 1), long


def _gate(judge: Judge) -> tuple[bool, str]:
    """Whether calls of both arms can wait behind a gate, tried with one call each after a first one that may load lazily."""
    if judge.case.device != "cuda":
        return False, ""
    one = dict.fromkeys(ARMS, 1)
    for _ in range(2):
        _batches(judge, one, one, gated=False)
    if judge.case.claim == "wall":
        return False, "the claim is wall time"
    try:
        _batches(judge, one, one, gated=True)
    except ArmTimeout as stuck:
        return False, f"{stuck} waits for the device inside a call"
    return True, ""


def _aim_ns(judge: Judge, gated: bool) -> float:
    wanted = judge.case.measure
    if judge.case.device == "cuda":
        return wanted.batch_gpu_ms * 1e6 * (1.0 if gated else WALL_GPU_FACTOR)
    return wanted.batch_ms * 1e6


def _warm_up(judge: Judge, aim_ns: float, most: int) -> dict[str, float]:
    """Runs growing batches; gives each arm's time a call, ns, by its largest batch less an empty one."""
    calls, elapsed = dict.fromkeys(ARMS, 1), dict.fromkeys(ARMS, 0.0)
    while True:
        batches = _batches(judge, calls, calls, gated=False)
        empty = judge.run("baseline", 0, 1, gated=False).elapsed_ns
        elapsed = {b.arm: max(1.0, b.elapsed_ns - empty) for b in batches}
        growing = {arm: min(most, n * 4) for arm, n in calls.items() if elapsed[arm] < aim_ns / 4 and n < most}
        if not growing:
            return {arm: elapsed[arm] / calls[arm] for arm in ARMS}
        calls |= growing


def _batches(
    judge: Judge, calls: dict[str, int], window: dict[str, int], gated: bool, round_: int = -1, swap: bool = False
) -> list[Batch]:
    """One batch of each arm on the same new content, verified."""
    judge.draw(calls)
    order = tuple(reversed(ARMS)) if swap else ARMS
    batches = [judge.run(arm, calls[arm], window[arm], gated, round_) for arm in order]
    if judge.shields.on("output.poisoned_outputs"):
        judge.verify(batches)
    return batches


def measure(judge: Judge, schedule: Schedule, progress: Callable[[int, int], None]) -> list[Round]:
    """Rounds until the interval is narrow enough, the time is up, or the rounds are. Raises WorkerFault.

    A round is an empty batch of the baseline and a short and a long batch of each arm; which arm goes first alternates
    (A B, B A, ...), and both see the same content. progress is told (round, rounds).
    """
    wanted, start, rounds = judge.case.measure, time.monotonic(), list[Round]()
    for number in range(wanted.rounds):
        rounds.append(_round(judge, schedule, number))
        progress(number + 1, wanted.rounds)
        if number + 1 < wanted.min_rounds:
            continue
        width = half_width(estimate(rounds, schedule.calls).log_ratios)
        if width <= wanted.half_width or time.monotonic() - start > wanted.seconds or judge.refused():
            break
    if not judge.shields.on("output.poisoned_outputs"):
        judge.check_once([next(b for b in reversed(judge.batches) if b.arm == arm and b.calls) for arm in ARMS])
    return rounds


def _round(judge: Judge, schedule: Schedule, number: int) -> Round:
    gated = schedule.gated
    by_arm = {"baseline": schedule.calls.baseline, "candidate": schedule.calls.candidate}
    window = {arm: calls[1] for arm, calls in by_arm.items()}
    elapsed: dict[tuple[str, int], float] = {}
    try:
        empty = judge.run("baseline", 0, 1, gated, number).elapsed_ns
        for length in (0, 1):
            calls = {arm: by_arm[arm][length] for arm in ARMS}
            batches = _batches(judge, calls, window, gated, number, swap=number % 2 == 1)
            elapsed |= {(b.arm, length): float(judge.time_ns(b)) for b in batches}
    except ArmTimeout as stuck:
        raise WorkerFault("candidate", "hung", f"{stuck} no longer fits behind the gate in round {number}") from stuck
    return Round(float(empty), *(elapsed[arm, length] for arm in ARMS for length in (0, 1)))
