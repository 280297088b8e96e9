"""Late writes: what the tripwires' count becomes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.judge import Batch
from aisp_runner.protect.memory.late_writes import LateWrites
from protect.batches import batch


def done_now() -> Batch:
    return batch(order=(3, 1), done_ns=time.perf_counter_ns())


@pytest.mark.parametrize(("lost", "status"), [(0, "pass"), (1, "fail"), (2, "fail")])
def test_a_lost_tripwire_is_a_failure_of_its_arm(lost: int, status: str) -> None:
    judge: Any = SimpleNamespace(lost_tripwires=lambda _: lost)
    found = LateWrites().judge_after_batch(judge, done_now())
    assert (found.status, found.arm) == (status, "candidate")
    assert found.observed == f"{lost} of 2 output slots were written after DONE" and found.limit == "0 slots within 3 ms"


def test_the_look_comes_once_the_time_to_settle_is_over() -> None:
    given, looked = done_now(), []
    judge: Any = SimpleNamespace(lost_tripwires=lambda b: looked.append(time.perf_counter_ns() - b.done_ns) or 0)
    LateWrites(settle_ms=20.0).judge_after_batch(judge, given)
    assert 20e6 <= looked[0] < 200e6


def test_tripwires_are_laid_at_done_as_many_as_the_knob_says() -> None:
    laid: list[tuple[Any, int]] = []
    judge: Any = SimpleNamespace(lay_tripwires=lambda b, n: laid.append((b, n)))
    given = done_now()
    LateWrites(elements=5).judge_at_done(judge, given)
    assert laid == [(given, 5)]
