"""Pages that were swapped while the rounds ran."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.memory.no_swapping import NoSwapping
from aisp_runner.state import CpuReading, GpuReading

QUIET = (2000, 1, 0.0, 0.0, 0)


def seen(*swapped: int | None, **knobs: int) -> Evidence | None:
    readings = [CpuReading(*QUIET, swapped_pages=pages) for pages in swapped]
    judge: Any = SimpleNamespace(readings=readings)
    return NoSwapping(**knobs).judge_conclude(judge)


@pytest.mark.parametrize(
    ("swapped", "status"), [((0, 0), "pass"), ((200, 56), "pass"), ((200, None, 57), "unavailable"), ((5000,), "unavailable")]
)
def test_pages_are_added_up_over_the_rounds(swapped: tuple[int | None, ...], status: str) -> None:
    found = seen(*swapped)
    assert found is not None and found.status == status
    assert found.observed.startswith(f"{sum(p or 0 for p in swapped)} pages were swapped while the rounds ran")


def test_a_machine_that_does_not_tell_leaves_no_evidence() -> None:
    gpu: Any = SimpleNamespace(readings=[GpuReading(1500, 1500, 100.0, 40, (), 0)])
    assert seen(None) is None and seen() is None and NoSwapping().judge_conclude(gpu) is None


def test_the_limit_is_a_knob() -> None:
    assert seen(10, pages=9).status == "unavailable"  # type: ignore[union-attr]
    assert "limit: 9" in seen(10, pages=9).observed  # type: ignore[union-attr]
