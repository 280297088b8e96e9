"""What the cost of the protections is computed from."""

from __future__ import annotations

from typing import Any

import pytest

from aisp_runner.dev import protections


def made(seconds: float, speedup: float | None) -> dict[str, Any]:
    return {"seconds": seconds, "speedup": None if speedup is None else {"value": speedup}}


def test_medians_of_the_modes_are_held_against_each_other() -> None:
    told = protections.figures(
        {"strict": [made(3.0, 1.01), made(9.0, 1.02), made(4.0, 1.03)], "off": [made(2.0, 1.0), made(1.0, 1.0), made(8.0, 1.1)]}
    )
    assert (told["strict_s"], told["off_s"], told["ratio"]) == (4.0, 2.0, 2.0)
    assert told["apart_percent"] == pytest.approx(2.0) and told["scatter_percent"] == pytest.approx(1.0)


def test_a_mode_without_a_number_is_told_as_none() -> None:
    told = protections.figures({"strict": [made(3.0, None)], "off": [made(2.0, 1.0)]})
    assert told["strict_speedup"] is None and told["apart_percent"] is None and told["scatter_percent"] is None
