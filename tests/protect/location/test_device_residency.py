"""CPU time of a worker whose batch waits behind the gate, on made-up batches."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.calibrate import Schedule
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.location.device_residency import DeviceResidency
from aisp_runner.statistics import Calls
from aisp_runner.system import settled_cpu_ns
from protect.batches import batch


def concluded(
    baseline_us: float,
    candidate_us: float,
    lasted_us: float = 2000.0,
    mode: str = "graph",
    load: int | None = None,
    **changes: Any,
) -> Evidence | None:
    """Evidence on long batches in which the workers used so much CPU time; other batches used much more. load: tasks that
    wanted a core meanwhile.
    """
    batches = []
    for arm, us in (("baseline", baseline_us), ("candidate", candidate_us)):
        batches += [batch(arm, 20, mode=mode, number=n, us=lasted_us, cpu_used_ns=int(us * 1e3), **changes) for n in range(5)]
        batches += [
            batch(arm, 20, mode=mode, us=lasted_us, purpose=purpose, cpu_used_ns=10**10) for purpose in ("warm_up", "dropped")
        ]
        batches.append(batch(arm, 4, mode=mode, us=400.0, cpu_used_ns=10**10))
    measured = SimpleNamespace(schedule=Schedule(Calls((4, 20), (4, 20)), mode))
    readings = [SimpleNamespace(load=load)] * 3 if load is not None else []
    judge = SimpleNamespace(batches=batches, measured=measured, readings=readings)
    return DeviceResidency().judge_conclude(judge)  # type: ignore[arg-type]


@pytest.mark.parametrize(("baseline_us", "candidate_us"), [(10.0, 12.0), (2000.0, 2050.0), (10.0, 550.0)])
def test_a_worker_that_waits_as_the_baselines_does_passes(baseline_us: float, candidate_us: float) -> None:
    found = concluded(baseline_us, candidate_us)
    assert found is not None and found.status == "pass"


@pytest.mark.parametrize(("baseline_us", "candidate_us"), [(10.0, 1900.0), (2000.0, 3900.0)], ids=["sleeps", "spins"])
def test_a_worker_that_computes_while_the_gpu_is_timed_is_refused(baseline_us: float, candidate_us: float) -> None:
    found = concluded(baseline_us, candidate_us)
    assert found is not None and found.status == "fail" and found.arm == "candidate"
    assert f"used {candidate_us:.0f} us of CPU time in a batch of 2000 us" in found.observed


def test_where_more_tasks_want_a_core_than_there_are_nobody_is_accused_and_a_gate_stops() -> None:
    """As once in ten honest runs on an H200 with a process spinning on every core: 5868 us in a batch of 2935 us."""
    cores = os.cpu_count() or 1
    busy = concluded(3700.0, 5868.0, 2935.0, load=cores + 1)
    assert busy is not None and busy.status == "unavailable" and f"{cores + 1} tasks" in busy.observed
    quiet = concluded(3700.0, 5868.0, 2935.0, load=cores)
    assert quiet is not None and quiet.status == "fail"
    calm = concluded(2900.0, 3000.0, 2935.0, load=cores + 1)
    assert calm is not None and calm.status == "pass"


def test_a_judge_that_reads_the_clock_late_counts_the_time_until_then() -> None:
    """A worker that looks all the time uses what passes between DONE and the reading as well."""
    late = concluded(4000.0, 4100.0, cpu_window_ns=4_000_000)
    assert late is not None and late.status == "pass"
    works = concluded(4000.0, 5900.0, cpu_window_ns=4_000_000)
    assert works is not None and works.status == "fail"


def test_a_candidate_that_is_slower_may_wait_longer() -> None:
    made = [
        batch("baseline", 20, mode="gated", us=1000.0, cpu_used_ns=990_000),
        batch("candidate", 20, mode="gated", us=3000.0, cpu_used_ns=2_980_000),
    ]
    measured = SimpleNamespace(schedule=Schedule(Calls((4, 20), (4, 20)), "gated"))
    found = DeviceResidency().judge_conclude(SimpleNamespace(batches=made, measured=measured, readings=[]))  # type: ignore[arg-type]
    assert found is not None and found.status == "pass"


def test_what_a_worker_uses_after_its_batch_does_not_grow_with_the_batch() -> None:
    """As on an H200: a baseline that looks all the time, and a candidate whose long batch is nearly half as long."""
    batches = [batch("baseline", 12, mode="graph", number=n, us=1120.0, cpu_used_ns=1_647_000) for n in range(5)]
    batches += [batch("candidate", 12, mode="graph", number=n, us=627.0, cpu_used_ns=1_203_000) for n in range(5)]
    measured = SimpleNamespace(schedule=Schedule(Calls((2, 12), (2, 12)), "graph"))
    found = DeviceResidency().judge_conclude(SimpleNamespace(batches=batches, measured=measured, readings=[]))  # type: ignore[arg-type]
    assert found is not None and found.status == "pass"


def test_what_the_baselines_batches_scatter_is_allowed_and_the_candidates_is_not() -> None:
    """As once in 104 honest runs on an H200: the candidate's median lay 263 us over what was expected."""
    measured = SimpleNamespace(schedule=Schedule(Calls((2, 8), (2, 8)), "graph"))

    def judged(baseline: list[float], candidate: list[float]) -> str:
        batches = [
            batch(arm, 8, mode="graph", number=n, us=500.0, cpu_used_ns=int((500 + over) * 1e3))
            for arm, overs in (("baseline", baseline), ("candidate", candidate))
            for n, over in enumerate(overs)
        ]
        found = DeviceResidency().judge_conclude(SimpleNamespace(batches=batches, measured=measured, readings=[]))  # type: ignore[arg-type]
        assert found is not None
        return found.status

    assert judged([400.0, 635.0, 900.0, 620.0, 640.0], [898.0] * 5) == "pass"
    assert judged([635.0] * 5, [635.0 + 376.0] * 5) == "fail"
    assert judged([435.0, 535.0, 635.0, 735.0, 835.0], [635.0 + 376.0] * 5) == "pass"
    assert judged([635.0] * 5, [0.0, 100.0, 1100.0, 2000.0, 3000.0]) == "fail"


def test_it_is_silent_where_workers_dispatch_while_they_are_timed() -> None:
    assert concluded(10.0, 1900.0, mode="wall") is None


@pytest.fixture
def spinning() -> Iterator[int]:
    """A process that computes all the time, in a group of its own as a worker is."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    time.sleep(0.1)
    yield child.pid
    child.kill()
    child.wait()


def test_what_was_used_is_read_to_a_fraction_of_a_tick(spinning: int) -> None:
    judge = SimpleNamespace(arms={"candidate": SimpleNamespace(pids=(spinning,))})
    shares = []
    for _ in range(9):  # between two ticks the process's clock stands still while it computes
        gated = batch(mode="gated", cpu_from_ns=settled_cpu_ns([spinning]))
        start, end = time.perf_counter(), time.perf_counter() + 0.0011
        while time.perf_counter() < end:
            pass
        DeviceResidency().judge_at_done(judge, gated)  # type: ignore[arg-type]
        shares.append(gated.cpu_used_ns / 1e9 / (time.perf_counter() - start))
    assert 0.3 < sorted(shares)[4] < 1.05, shares  # another process may have half of the core
    wall = batch(mode="wall")
    DeviceResidency().judge_at_done(judge, wall)  # type: ignore[arg-type]
    assert wall.cpu_used_ns == 0
