"""CPU time of a worker whose batch waits behind the gate, on made-up batches."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from aisp_runner.calibrate import Schedule
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.location.device_residency import DeviceResidency
from aisp_runner.statistics import Calls
from aisp_runner.system import cpu_ns
from protect.batches import batch


def concluded(baseline_us: float, candidate_us: float, lasted_us: float = 2000.0, mode: str = "graph") -> Evidence | None:
    """Evidence on long batches in which the workers used so much CPU time; other batches used much more."""
    batches = []
    for arm, us in (("baseline", baseline_us), ("candidate", candidate_us)):
        batches += [batch(arm, 20, mode=mode, number=n, us=lasted_us, cpu_used_ns=int(us * 1e3)) for n in range(5)]
        batches += [
            batch(arm, 20, mode=mode, us=lasted_us, purpose=purpose, cpu_used_ns=10**10) for purpose in ("warm_up", "dropped")
        ]
        batches.append(batch(arm, 4, mode=mode, us=400.0, cpu_used_ns=10**10))
    measured = SimpleNamespace(schedule=Schedule(Calls((4, 20), (4, 20)), mode))
    return DeviceResidency().judge_conclude(SimpleNamespace(batches=batches, measured=measured))  # type: ignore[arg-type]


@pytest.mark.parametrize(("baseline_us", "candidate_us"), [(10.0, 12.0), (2000.0, 2050.0), (10.0, 550.0)])
def test_a_worker_that_waits_as_the_baselines_does_passes(baseline_us: float, candidate_us: float) -> None:
    found = concluded(baseline_us, candidate_us)
    assert found is not None and found.status == "pass"


@pytest.mark.parametrize(("baseline_us", "candidate_us"), [(10.0, 1900.0), (2000.0, 3900.0)], ids=["sleeps", "spins"])
def test_a_worker_that_computes_while_the_gpu_is_timed_is_refused(baseline_us: float, candidate_us: float) -> None:
    found = concluded(baseline_us, candidate_us)
    assert found is not None and found.status == "fail" and found.arm == "candidate"
    assert f"used {candidate_us:.0f} us of CPU time in a batch of 2000 us" in found.observed


def test_a_candidate_that_is_slower_may_wait_longer() -> None:
    made = [
        batch("baseline", 20, mode="gated", us=1000.0, cpu_used_ns=990_000),
        batch("candidate", 20, mode="gated", us=3000.0, cpu_used_ns=2_980_000),
    ]
    measured = SimpleNamespace(schedule=Schedule(Calls((4, 20), (4, 20)), "gated"))
    found = DeviceResidency().judge_conclude(SimpleNamespace(batches=made, measured=measured))  # type: ignore[arg-type]
    assert found is not None and found.status == "pass"


def test_it_is_silent_where_workers_dispatch_while_they_are_timed() -> None:
    assert concluded(10.0, 1900.0, mode="wall") is None


def test_what_was_used_is_read_from_the_processs_own_clock() -> None:
    judge = SimpleNamespace(arms={"candidate": SimpleNamespace(pids=(os.getpid(),))})
    gated = batch(mode="gated", cpu_from_ns=cpu_ns(os.getpid()))
    wall = batch(mode="wall")
    sum(range(200_000))
    for made in (gated, wall):
        DeviceResidency().judge_at_done(judge, made)  # type: ignore[arg-type]
    assert 100_000 < gated.cpu_used_ns < 10**10 and wall.cpu_used_ns == 0
