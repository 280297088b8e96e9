"""Comparisons and a judge for tests of the output protections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aisp_runner.case import Tensor
from aisp_runner.verify import Comparison
from protect.batches import batch

BATCH = batch(calls=4)


def comparison(
    output: str = "c",
    unwritten: int = 0,
    nonfinite: int = 0,
    wrong: int = 0,
    max_abs: float = 0.0,
    arm: str = "candidate",
    subnormal: int = 0,
    flushed: int = 0,
) -> Comparison:
    """One of 100 elements."""
    return Comparison(arm, output, 4, 100, unwritten, nonfinite, wrong, (), max_abs, 0.0, subnormal, flushed)


def judge() -> Any:
    outputs = tuple(Tensor(name, (25,), "float32", "output", rtol=1e-3, atol=0.5) for name in "cd")
    return SimpleNamespace(case=SimpleNamespace(outputs=outputs), checked={"candidate": (0, 1, 2, 3)})
