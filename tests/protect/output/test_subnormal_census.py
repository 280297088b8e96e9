"""What counts of flushed subnormal answers become."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.output.subnormal_census import SubnormalCensus
from protect.output.findings import comparison


def seen(base: tuple[int, int], own: tuple[int, int], **knobs: float) -> Evidence | None:
    """(subnormal, flushed) of 200 checked elements of each arm."""
    made = [
        comparison(arm=arm, subnormal=s, flushed=f)
        for arm, counted in (("baseline", base), ("candidate", own))
        for s, f in (counted, (0, 0))
    ]
    judge: Any = SimpleNamespace(comparisons=made)
    return SubnormalCensus(**knobs).judge_conclude(judge)


@pytest.mark.parametrize(
    ("base", "own", "status"),
    [
        ((40, 0), (40, 0), "pass"),
        ((40, 0), (40, 40), "fail"),
        ((40, 0), (40, 11), "fail"),
        ((40, 0), (40, 10), "pass"),
        ((40, 40), (40, 40), "pass"),
        ((40, 40), (40, 0), "pass"),
    ],
    ids=["kept", "flushed", "more than a quarter", "a quarter", "the baseline flushes too", "only the baseline flushes"],
)
def test_the_candidate_may_flush_little_more_than_the_baseline(
    base: tuple[int, int], own: tuple[int, int], status: str
) -> None:
    found = seen(base, own)
    assert found is not None and (found.status, found.arm) == (status, "candidate")
    assert f"{own[1] / 40:.0%} of 40 subnormal answers are exactly zero" in found.observed


def test_nothing_is_said_of_content_without_subnormal_answers() -> None:
    assert seen((0, 0), (0, 0)) is None


def test_a_few_among_many_are_not_refused() -> None:
    assert seen((40, 0), (40, 40), least=0.21).status == "pass"  # type: ignore[union-attr]
    assert seen((40, 0), (40, 40), least=0.2).status == "fail"  # type: ignore[union-attr]


def test_flushing_is_allowed_by_a_knob() -> None:
    assert seen((40, 0), (40, 40), share=1.0).status == "pass"  # type: ignore[union-attr]
