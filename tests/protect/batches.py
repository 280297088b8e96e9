"""Batches made by hand, for tests of the protections that read them."""

from __future__ import annotations

from typing import Any

from aisp_runner.judge import Batch


def batch(
    arm: str = "candidate",
    calls: int = 4,
    *,
    number: int = 0,
    us: float = 0.0,
    drain_us: float = 0.0,
    purpose: str = "round",
    process: int = 0,
    **changes: Any,
) -> Batch:
    """A batch of an arm in round `number` that took `us`, and drained for `drain_us` after DONE."""
    fields: dict[str, Any] = {
        "sequence": 0,
        "purpose": purpose,
        "round": number,
        "arm": arm,
        "order": tuple(range(calls)),
        "mode": "wall",
        "process": process,
        "done_ns": round(us * 1e3),
        "drain_ns": round(drain_us * 1e3),
        "cpu_window_ns": round(us * 1e3),
    }
    return Batch(**(fields | changes))
