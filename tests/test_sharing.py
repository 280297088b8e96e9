"""What empty batches say of a shared GPU, and what may be decided there, on made-up batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from protect.batches import batch

from aisp_runner.protect.environment.quiet_machine import QuietMachine
from aisp_runner.sharing import EMPTY_US, answerable, empty_batches, limit_us, most_told, profiled, told_ns, turn_us


def stamped(arm: str, us: float, calls: int = 8, **device: float) -> Any:
    return batch(arm, calls, us=us, mode="profiled", purpose="device", device={"busy_ns": 1e3, "quarter_ns": 100.0} | device)


@pytest.mark.parametrize(
    ("us", "is_shared"), [((250.0, 420.0, 4000.0), False), ((2400.0, 1900.0, 20.0), True), ((1200.0,), False)]
)
def test_a_gpu_is_shared_where_the_typical_empty_batch_waits(us: tuple[float, ...], is_shared: bool) -> None:
    batches = [batch("baseline", 0, us=each) for each in us]
    batches += [batch("baseline", 0, us=9e6, purpose="serial"), batch("baseline", 20, us=9e6)]
    seen = empty_batches(batches, EMPTY_US)
    assert seen is not None and seen.us == us and seen.shared is is_shared
    assert empty_batches(batches[len(us) :], EMPTY_US) is None


@pytest.mark.parametrize(("protections", "us"), [({}, 1200.0), ({"environment.quiet_machine": {"empty_us": 800.0}}, 800.0)])
def test_the_limit_is_the_protections_own(protections: dict[str, Any], us: float) -> None:
    case: Any = SimpleNamespace(protections=protections)
    assert limit_us(case) == us and QuietMachine().empty_us == EMPTY_US


@pytest.mark.parametrize(
    ("changes", "mode", "may"),
    [
        ({}, "graph", True),
        ({}, "gated", True),
        ({}, "wall", False),
        ({"candidate": "theirs.py::fast"}, "graph", False),
        ({"claim": "wall"}, "graph", False),
        ({"ranks": 2}, "graph", False),
    ],
)
def test_time_stamps_may_decide_device_time_of_trusted_code_on_one_gpu(changes: dict[str, Any], mode: str, may: bool) -> None:
    case: Any = SimpleNamespace(**({"candidate": None, "claim": "kernel", "ranks": 1} | changes))
    assert answerable(case, mode) is may


@pytest.mark.parametrize(("made", "us"), [(None, 0.0), ([], 0.0), (["a round"], 2600.0)])
def test_waiting_for_a_turn_is_allowed_for_where_time_stamps_decide(made: Any, us: float) -> None:
    measured = None if made is None else SimpleNamespace(stamped=made)
    batches = [batch("baseline", 0, us=each) for each in (2400.0, 2600.0)]
    judge: Any = SimpleNamespace(measured=measured, batches=batches, case=SimpleNamespace(protections={}))
    assert turn_us(judge) == us


def test_a_batch_took_at_least_its_kernels_and_its_calls() -> None:
    assert told_ns(stamped("candidate", 1.0, busy_ns=5e5)) == 5e5
    assert told_ns(stamped("candidate", 1.0, quarter_ns=1e5)) == 8e5 / 1.25, "the quickest call is no less than that"


def test_the_batch_that_tells_most_of_what_was_seen_is_found() -> None:
    batches = [stamped("candidate", 10.0), stamped("candidate", 2.0), stamped("control", 1.0)]
    batches += [batch("candidate", mode="profiled", device={"error": "none"}), batch("candidate")]
    assert most_told(profiled(batches, "candidate")) is batches[1] and most_told([]) is None
