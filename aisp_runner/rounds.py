"""What rounds by either clock have in common: their order, the palindrome of long batches, and when they end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aisp_runner.cast import ARMS
from aisp_runner.judge import Batch, Judge
from aisp_runner.statistics import Calls, order

if TYPE_CHECKING:
    from aisp_runner.measure import Measurement


def palindrome(judge: Judge, calls: Calls, mode: str, purpose: str, number: int) -> list[Batch]:
    """Two long batches of each arm, on two draws of content that all arms share: A B C C B A, B C A A C B or C A B B A C."""
    done: list[Batch] = []
    first = turned(judge, number, judge.cast.roles)
    for half in (first, first[::-1]):
        judge.draw({role: calls.of(role)[1] for role in judge.cast.roles})
        ran = [judge.run(role, calls.of(role)[1], calls.of(role)[1], mode, purpose, number) for role in half]
        verify(judge, ran)
        done += ran
    return done


def turned(judge: Judge, number: int, roles: tuple[str, ...]) -> tuple[str, ...]:
    """Rotated from round to round, and from one set of processes to the next."""
    return order(number + judge.process, roles)


def verify(judge: Judge, ran: list[Batch]) -> None:
    """Compares what these batches wrote with the oracle's answers, where that is asked for."""
    if judge.shields.on("output.poisoned_outputs"):
        judge.verify([b for b in ran if b.arm in ARMS])


def over(judge: Judge, made: Measurement, done: int, start_s: float) -> bool:
    """Whether no further round is wanted after `done` in each set: narrow enough, time up or refused.

    start_s: when the first one began, by time.monotonic.
    """
    wanted = judge.case.measure
    if done < wanted.min_rounds or (done % 2 and done > 1):
        return False
    if time.monotonic() - start_s > wanted.seconds or judge.refused():
        return True
    return made.estimate().enough(wanted.half_width)
