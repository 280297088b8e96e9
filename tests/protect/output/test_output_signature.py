"""What the worker noted about outputs becomes evidence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aisp_runner.protect.output.output_signature import OutputSignature


def seen(*notes: str) -> Any:
    return OutputSignature().worker_after_batch(SimpleNamespace(signature=set(notes)))  # type: ignore[arg-type]


def test_an_output_as_declared_passes() -> None:
    assert (seen().status, seen().witness, seen().observed) == ("pass", "worker", "as declared")


def test_every_odd_output_is_named_in_order() -> None:
    assert (seen("d is int8", "c is int8").status, seen("d is int8", "c is int8").observed) == ("fail", "c is int8; d is int8")
