"""Protections that read the comparisons: each looks at its own count and at no other."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aisp_runner.protect.output.finite_values import FiniteValues
from aisp_runner.protect.output.fresh_inputs import FreshInputs
from aisp_runner.protect.output.poisoned_outputs import PoisonedOutputs
from aisp_runner.protect.output.tolerance_bound import ToleranceBound
from protect.output.findings import BATCH, comparison, judge

COUNTS = {"unwritten": PoisonedOutputs(), "nonfinite": FiniteValues(), "wrong": ToleranceBound()}


@pytest.mark.parametrize("name", COUNTS)
def test_one_element_is_enough_to_fail(name: str) -> None:
    found = COUNTS[name].judge_verify(judge(), BATCH, [comparison("c"), comparison("d", **{name: 1})])
    assert (found.status, found.arm, found.stage) == ("fail", "candidate", "verify")
    assert found.observed.startswith("1 of 200 checked elements")


@pytest.mark.parametrize("name", COUNTS)
def test_what_another_protection_counts_does_not_matter(name: str) -> None:
    others: dict[str, Any] = {other: 5 for other in COUNTS if other != name}
    found = COUNTS[name].judge_verify(judge(), BATCH, [comparison("c", **others)])
    assert found.status == "pass" and found.observed.startswith("0 of 100 checked elements")


def test_the_worst_output_is_named_with_its_tolerance() -> None:
    found = ToleranceBound().judge_verify(judge(), BATCH, [comparison("c", wrong=1), comparison("d", wrong=3, max_abs=1.5)])
    assert "4 of 200" in found.observed and "largest error of d: 1.5" in found.observed
    assert found.limit == "rtol 0.001, atol 0.5"


@pytest.mark.parametrize(("stale", "status", "count"), [((), "pass", 0), ((2,), "fail", 1), ((2, 2, 0), "fail", 2)])
def test_stale_calls_are_counted_once(stale: tuple[int, ...], status: str, count: int) -> None:
    found = FreshInputs().judge_verify(judge(), dataclasses.replace(BATCH, stale_calls=stale), [])
    assert found.status == status
    assert found.observed == f"{count} of 4 checked calls gave an output that belongs to earlier content"
