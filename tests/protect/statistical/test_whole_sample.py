"""Every batch that was issued is in the sample, on made-up batches."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.judge import Batch
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.statistical.whole_sample import WholeSample


@pytest.fixture
def judge() -> Any:
    """Six whole rounds and a warm-up batch, all of them issued."""
    kinds = [("baseline", 0), ("baseline", 4), ("baseline", 20), ("candidate", 4), ("candidate", 20)]
    batches = [Batch(0, number, arm, tuple(range(calls)), False) for number in range(6) for arm, calls in kinds]
    batches.append(Batch(0, -1, "candidate", (0,), False))
    issued = Counter((b.round, b.arm, b.calls) for b in batches)
    return SimpleNamespace(batches=batches, issued=issued, case=SimpleNamespace(measure=SimpleNamespace(min_rounds=6)))


def concluded(judge: Any) -> Evidence:
    return WholeSample().judge_conclude(judge)


def test_a_whole_sample_passes(judge: Any) -> None:
    found = concluded(judge)
    assert found.status == "pass"
    assert found.observed == "31 samples of 31 batches issued, 0 missing, 0 unexplained, 6 rounds, 0 incomplete"


@pytest.mark.parametrize("index", [0, 7, 30], ids=["a baseline's", "a candidate's", "a warm-up"])
def test_a_batch_that_was_dropped_is_missed(judge: Any, index: int) -> None:
    del judge.batches[index]
    assert concluded(judge).status == "fail" and "1 missing" in concluded(judge).observed


def test_a_batch_that_was_never_issued_is_refused(judge: Any) -> None:
    judge.batches.append(judge.batches[3])
    found = concluded(judge)
    assert found.status == "fail" and "1 unexplained" in found.observed


def test_a_round_that_was_dropped_whole_is_missed(judge: Any) -> None:
    judge.batches = [b for b in judge.batches if b.round != 4]
    assert "5 missing" in concluded(judge).observed and concluded(judge).status == "fail"


def test_too_few_rounds_are_refused(judge: Any) -> None:
    judge.case.measure.min_rounds = 7
    assert concluded(judge).status == "fail"
