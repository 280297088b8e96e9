"""Time stamps of a kernel that takes turns with another process's, simulated: each has the GPU for 2 ms, and then the other."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from aisp_runner.device.stamps import KernelStamps
from aisp_runner.statistics import Calls, Estimate, estimate, order, stamped_rounds

TURN_NS, STEP_NS, GAP_NS = 2_000_000, 32, 1_000
ROLES, SETS, ROUNDS = ("baseline", "candidate", "control"), 3, 4


def awake(now: float) -> float:
    """The next moment of a turn of ours: the even ones are."""
    return now if now // TURN_NS % 2 == 0 else (now // TURN_NS + 1) * TURN_NS


def end_of(start: float, needs_ns: float) -> float:
    """When a kernel that starts then has had so much of the GPU."""
    now = start
    while (room := (now // TURN_NS + 1) * TURN_NS - now) < needs_ns:
        needs_ns -= room
        now = awake(now + room)
    return now + needs_ns


def batch(now: float, calls: int, call_ns: float, chance: random.Random) -> tuple[KernelStamps, float]:
    """Its stamps and its end: the batch's own `touch`, then the calls, which scatter by 0.2 %."""
    now = awake(now)
    with KernelStamps() as stamps:
        stamps.spans = [(int(now), int(now) + 1000)]
        now += 2000
        for _ in range(calls):
            start = awake(now + GAP_NS)
            now = end_of(start, call_ns * chance.gauss(1, 0.002))
            stamps.spans.append((round(start / STEP_NS) * STEP_NS, round(now / STEP_NS) * STEP_NS))
    return stamps, now


def a_over_a(call_ns: float, calls: int, key: str, seed: int) -> Estimate:
    """The same function in every arm: what its palindromes say, by one value of each batch's summary."""
    chance, now, told = random.Random(seed), 0.0, []
    for number in range(ROUNDS):
        for process in range(SETS):
            half = order(number + process, ROLES)
            for arm in (*half, *half[::-1]):
                stamps, now = batch(now + chance.random() * 20 * TURN_NS, calls, call_ns, chance)
                told.append((process, number, arm, stamps.summary(calls)[key]))
    return estimate(stamped_rounds(told), Calls((1, 1), (1, 1)))


def scatter(call_ns: float, calls: int, key: str) -> float:
    """Standard deviation of ln(speed-up) over twenty cases."""
    found = [a_over_a(call_ns, calls, key, seed).speedup for seed in range(20)]
    return statistics.stdev(math.log(speedup.value) for speedup in found if speedup)


@pytest.mark.parametrize(("call_ns", "calls"), [(54e3, 37), (54e3, 18), (1.4e6, 8), (1.6e6, 8)])
def test_a_function_against_itself_scatters_by_less_than_a_thousandth(call_ns: float, calls: int) -> None:
    assert scatter(call_ns, calls, "quarter_ns") < 0.001


def test_the_middle_of_all_calls_would_hold_the_neighbours_turns() -> None:
    assert scatter(1.4e6, 8, "call_ns") > 0.01


def test_a_call_that_is_longer_than_a_turn_is_seen_to_be() -> None:
    stamps, _ = batch(0.0, 8, 2.5e6, random.Random(1))
    assert stamps.summary(8)["quarter_ns"] > TURN_NS
