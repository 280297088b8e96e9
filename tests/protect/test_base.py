"""Evidence, and how findings fall together in a record."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from aisp_runner.protect.base import JUDGE_STAGES, WORKER_STAGES, Evidence, Protection, merge
from aisp_runner.protect.registry import known


@dataclass(frozen=True)
class Example(Protection):
    id = "output.example"


def test_a_finding_says_pass_or_fail() -> None:
    good = Example().found("verify", True, "0 wrong", "0", "candidate")
    assert good == Evidence("output.example", "verify", "judge", "pass", "0 wrong", "0", "candidate")
    assert Example().found("verify", False, "1 wrong", "0", witness="worker").status == "fail"
    assert Example().found("verify", False, "1 wrong", "0", witness="worker").witness == "worker"


def test_a_protection_that_cannot_work_says_why() -> None:
    assert Example().unavailable("boot", "no GPU") == Evidence("output.example", "boot", "judge", "unavailable", "no GPU", "")


def evidence(status: str, observed: str, **changes: str) -> Evidence:
    fields = {"protection": "p", "stage": "verify", "witness": "judge", "limit": "", "arm": "candidate"} | changes
    return Evidence(status=status, observed=observed, **fields)


def test_passes_fall_together_and_the_last_is_shown() -> None:
    (only,) = merge([evidence("pass", "0 of 4"), evidence("pass", "0 of 8"), evidence("pass", "0 of 2")])
    assert (only.observed, only.count) == ("0 of 2", 3)


def test_different_failures_stay_apart_and_equal_ones_are_counted() -> None:
    made = merge([evidence("fail", "1"), evidence("fail", "2"), evidence("fail", "1"), evidence("pass", "0")])
    assert [(e.status, e.observed, e.count) for e in made] == [("fail", "1", 2), ("fail", "2", 1), ("pass", "0", 1)]


@pytest.mark.parametrize("field", ["protection", "stage", "witness", "arm"])
def test_what_differs_in_anything_else_stays_apart(field: str) -> None:
    assert len(merge([evidence("pass", "0"), evidence("pass", "0", **{field: "other"})])) == 2


def test_merging_twice_changes_nothing() -> None:
    once = merge([evidence("pass", "0"), evidence("fail", "1"), evidence("pass", "0")])
    assert merge(once) == once and merge([]) == []


@pytest.mark.parametrize("kind", known().values(), ids=known())
def test_every_hook_of_a_protection_is_one_that_is_called(kind: type[Protection]) -> None:
    hooks = {name for name in dir(kind) if name.startswith(("judge_", "worker_"))}
    allowed = {f"judge_{stage}" for stage in JUDGE_STAGES} | {f"worker_{stage}" for stage in WORKER_STAGES}
    assert hooks and hooks <= allowed


@pytest.mark.parametrize("kind", known().values(), ids=known())
def test_every_protection_says_what_it_covers_and_what_it_is_blind_to(kind: type[Protection]) -> None:
    module = kind.__module__.removeprefix("aisp_runner.protect.")
    assert kind.id == module and kind.covers
    import sys

    assert "Blind spot:" in (sys.modules[kind.__module__].__doc__ or "").replace("Blind\nspot", "Blind spot")
