"""Time stamps of a batch, and doing without them."""

from __future__ import annotations

import sys

import pytest

from aisp_runner.device.stamps import CuptiStamps, KernelStamps


def stamped(*spans: tuple[int, int]) -> KernelStamps:
    """Stamps of a batch whose own `touch` ran from 0 to 1."""
    with KernelStamps() as stamps:
        stamps.spans = [*spans, (0, 1)]
    return stamps


def test_a_plan_that_asks_for_cupti_where_it_is_missing_gets_a_reason_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupti", None)
    with CuptiStamps() as stamps:
        pass
    assert stamps.summary(4)["error"].startswith("cupti-python: ")


def test_busy_time_is_the_union_of_kernels_and_a_call_the_mean_of_the_middle_ones() -> None:
    told = stamped((10, 20), (30, 50), (60, 80), (100, 900)).summary(4)
    assert told == {"kernels": 4, "busy_ns": 850, "span_ns": 890, "call_ns": 20.0, "quarter_ns": 10.0}
    assert stamped((10, 30), (20, 40)).summary(1)["busy_ns"] == 30, "what overlaps counts once"


def test_kernels_that_cannot_be_shared_out_evenly_give_the_mean() -> None:
    assert stamped((10, 20), (30, 40), (50, 60)).summary(2)["call_ns"] == 15.0


def test_a_batch_without_a_kernel_has_no_time() -> None:
    assert stamped().summary(3) == {"error": "the profiler saw no kernel"}
