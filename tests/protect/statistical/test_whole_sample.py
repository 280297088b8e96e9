"""Every batch that was issued is in the sample, on made-up batches."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.judge import Batch
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.statistical.whole_sample import WholeSample
from protect.batches import batch

ROLES = ("baseline", "candidate", "control")
SETS, ROUNDS = 2, 3
BATCHES = ROUNDS * (2 + SETS * (1 + 2 * len(ROLES)))
"""48: an empty batch and two long ones of each role in every round of every set, and two short ones in the first set."""


def a_round(process: int, number: int, purpose: str = "round") -> list[Batch]:
    kinds = [("baseline", 0), *((role, 20) for role in (*ROLES, *ROLES[::-1]))]
    kinds += [("baseline", 4), ("candidate", 4)] if process == 0 else []
    return [batch(arm, calls, number=number, process=process, purpose=purpose) for arm, calls in kinds]


def of(batches: list[Batch], rounds: int = ROUNDS) -> Any:
    """A judge that issued just these batches; those left out for their clock were issued as any other."""
    issued = Counter((b.process, "round" if b.purpose == "dropped" else b.purpose, b.round, b.arm, b.calls) for b in batches)
    case = SimpleNamespace(measure=SimpleNamespace(min_rounds=rounds, processes=SETS))
    return SimpleNamespace(batches=batches, issued=issued, case=case, cast=SimpleNamespace(roles=ROLES))


@pytest.fixture
def judge() -> Any:
    """Three whole rounds of two sets, and batches of other purposes, all of them issued."""
    whole = [b for number in range(ROUNDS) for process in range(SETS) for b in a_round(process, number)]
    return of([*whole, batch(calls=1, number=-1, purpose="warm_up"), batch(calls=1, purpose="serial")])


def concluded(judge: Any) -> Evidence:
    return WholeSample().judge_conclude(judge)


def test_a_whole_sample_passes(judge: Any) -> None:
    found = concluded(judge)
    assert found.status == "pass"
    assert found.observed == (
        f"{BATCHES} samples of {BATCHES} batches issued, 0 missing, 0 unexplained, 0 dropped, "
        "6 rounds in 2 sets of processes, 0 incomplete"
    )
    assert found.limit == "all, once, in 3 rounds or more of 2 sets"


@pytest.mark.parametrize("index", [0, 1, 2, 3, 7, 9], ids=["empty", "baseline", "candidate", "control", "short", "second set"])
def test_a_batch_that_was_left_out_is_missed(judge: Any, index: int) -> None:
    del judge.batches[index]
    found = concluded(judge)
    assert found.status == "fail" and "1 missing" in found.observed and "1 incomplete" in found.observed


def test_a_batch_that_was_never_issued_is_refused(judge: Any) -> None:
    judge.batches.append(judge.batches[3])
    found = concluded(judge)
    assert found.status == "fail" and "1 unexplained" in found.observed


def test_a_round_that_was_left_out_whole_is_missed(judge: Any) -> None:
    judge.batches = [b for b in judge.batches if (b.process, b.round) != (1, 2)]
    assert "7 missing" in concluded(judge).observed and concluded(judge).status == "fail"


def test_a_set_that_was_left_out_whole_is_missed(judge: Any) -> None:
    judge.batches = [b for b in judge.batches if b.process == 0]
    assert "21 missing" in concluded(judge).observed and concluded(judge).status == "fail"


def test_too_few_rounds_are_refused(judge: Any) -> None:
    judge.case.measure.min_rounds = 4
    assert concluded(judge).status == "fail"


def test_too_few_rounds_of_one_set_are_refused() -> None:
    rounds = [b for number in range(ROUNDS) for b in a_round(0, number)] + a_round(1, 0)
    found = concluded(of(rounds))
    assert found.status == "fail" and "0 missing, 0 unexplained" in found.observed and "0 incomplete" in found.observed


def test_too_few_sets_are_refused() -> None:
    assert concluded(of([b for number in range(ROUNDS) for b in a_round(0, number)])).status == "fail"


def test_a_round_dropped_for_its_clock_is_counted_and_not_missed(judge: Any) -> None:
    made = of([*a_round(0, 1, "dropped"), *a_round(1, 1, "dropped"), *judge.batches])
    found = concluded(made)
    assert found.status == "pass", found.observed
    assert f"{BATCHES} samples of {BATCHES + 16} batches issued, 0 missing, 0 unexplained, 16 dropped" in found.observed


def test_a_dropped_round_does_not_stand_for_one_that_was_not_repeated() -> None:
    """Three rounds were wanted of each set; one of them was dropped and is not there again."""
    kept = [b for number in range(ROUNDS) for process in range(SETS) for b in a_round(process, number) if number or process]
    found = concluded(of([*a_round(0, 0, "dropped"), *kept]))
    assert found.status == "fail" and "0 missing" in found.observed
