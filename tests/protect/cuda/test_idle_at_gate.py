"""The judge's own operation while a gate is shut, on made-up times."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.cuda.idle_at_gate import IdleAtGate
from protect.batches import batch


def concluded(baseline_us: float, candidate_us: float) -> Evidence | None:
    """Evidence on rounds in which it took so long; in warm-up, and in a batch where it was not looked at, anything."""
    batches = [
        batch("candidate", 20, idle_ns=10**9, purpose="warm_up"),
        batch("candidate", 20),
        batch("baseline", 0, idle_ns=10**9),
    ]
    for arm, us in (("baseline", baseline_us), ("candidate", candidate_us)):
        batches += [batch(arm, 20, number=n, idle_ns=int(us * 1e3)) for n in range(5)]
    return IdleAtGate().judge_conclude(SimpleNamespace(batches=batches, measured=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(("baseline", "candidate"), [(20.0, 25.0), (1000.0, 1300.0), (1000.0, 20.0)])
def test_a_gpu_that_is_as_idle_as_for_the_baseline_passes(baseline: float, candidate: float) -> None:
    found = concluded(baseline, candidate)
    assert found is not None and found.status == "pass"


def test_a_kernel_that_is_there_already_is_refused() -> None:
    found = concluded(20.0, 1900.0)
    assert found is not None and (found.status, found.arm, found.limit) == ("fail", "candidate", "125 us")


@pytest.mark.parametrize(("device", "mode", "looked"), [("cuda", "gated", True), ("cuda", "wall", False)])
def test_it_looks_where_there_is_a_gate(device: str, mode: str, looked: bool) -> None:
    judge = SimpleNamespace(device=SimpleNamespace(name=device, after_done=lambda pids: [12_000, 17_000]))
    given = batch(mode=mode)
    IdleAtGate().judge_armed(judge, given)  # type: ignore[arg-type]
    assert given.idle_ns == (17_000 if looked else None)


def test_it_is_silent_where_nothing_was_looked_at() -> None:
    judge = SimpleNamespace(batches=[batch("baseline", 20), batch("candidate", 20)])
    assert IdleAtGate().judge_conclude(judge) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("us", "decided", "status"),
    [(2000.0, False, "fail"), (2000.0, True, "pass"), (5000.0, False, "fail"), (5000.0, True, "fail")],
)
def test_where_time_stamps_decide_waiting_for_a_turn_is_allowed_on_top(us: float, decided: bool, status: str) -> None:
    """Batches without calls took 2.4 ms."""
    judge = SimpleNamespace(
        batches=[
            batch("baseline", 0, us=2400.0),
            *[batch("baseline", 20, idle_ns=30_000), batch("candidate", 20, idle_ns=int(us * 1e3))],
        ],
        measured=SimpleNamespace(stamped=["a round"] if decided else []),
        case=SimpleNamespace(protections={}),
        device=SimpleNamespace(name="cuda"),
    )
    found = IdleAtGate().judge_conclude(judge)  # type: ignore[arg-type]
    assert found is not None and found.status == status
