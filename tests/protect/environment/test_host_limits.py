"""Limits that cost the run something are told; that they are there is not a finding unless bare metal is demanded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner import host
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.environment.host_limits import GIB, HostLimits
from protect.batches import batch
from protect.environment.hosts import BASELINE, CANDIDATE, judge_of, reading


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "group", lambda pid: "0::/job")
    monkeypatch.setattr(host, "promised_bytes", lambda pid: 2 * GIB)
    monkeypatch.setattr(host, "memory_available", lambda: (8 * GIB, 16 * GIB))


def concluded(*readings: Any) -> list[Evidence]:
    """Evidence on rounds of 1 s."""
    return HostLimits().judge_conclude(judge_of(readings=list(readings), batches=[batch(us=1e6)]))


def told(found: list[Evidence]) -> list[tuple[str, str]]:
    return [(e.status, e.observed) for e in found if e.status != "pass"]


@pytest.mark.parametrize(
    ("readings", "text"),
    [
        pytest.param([reading(steal_ms=20.0), reading(steal_ms=30.0)], "", id="a little stolen"),
        pytest.param(
            [reading(steal_ms=200.0)], "the hypervisor kept 200 ms of 1000 ms from the run (20%, limit 10%)", id="steal"
        ),
        pytest.param([reading(throttled_ms=10.0)], "", id="a little throttled"),
        pytest.param([reading(throttled_ms=30.0)] * 2, "the CPU quota of the control group kept 60 ms of 1000 ms", id="quota"),
        pytest.param([reading(throttled_ms=None, steal_ms=None)], "", id="not known"),
        pytest.param([], "", id="no reading"),
    ],
)
def test_time_that_was_lost_is_unavailable_with_its_figures(readings: list[Any], text: str) -> None:
    found = told(concluded(*readings))
    assert (len(found) == 1 and found[0][0] == "unavailable" and text in found[0][1]) if text else found == []


def test_memory_that_has_run_out_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "memory_available", lambda: (GIB // 10, 16 * GIB))
    ((status, observed),) = told(concluded())
    assert status == "unavailable" and observed.startswith("0.10 of 16.0 GiB of the host's memory are left")


@pytest.mark.parametrize(("gib", "status"), [(2, "pass"), (9, "pass"), (11, "fail")])
def test_a_promise_beyond_the_limit_is_the_candidates(monkeypatch: pytest.MonkeyPatch, gib: int, status: str) -> None:
    monkeypatch.setattr(host, "promised_bytes", {BASELINE: 2 * GIB, CANDIDATE: gib * GIB}.__getitem__)
    found = concluded()[-1]
    assert (found.status, found.arm, found.limit) == (status, "candidate", "8 GiB, limits.memory_gib")


@pytest.mark.parametrize(("group", "status"), [("0::/job", "pass"), ("", "pass"), ("0::/job/mine", "fail")])
def test_another_control_group_is_refused(monkeypatch: pytest.MonkeyPatch, group: str, status: str) -> None:
    monkeypatch.setattr(host, "group", {BASELINE: "0::/job", CANDIDATE: group}.__getitem__)
    assert concluded()[1].status == status


@pytest.mark.parametrize(
    ("facts", "bare_metal", "status"),
    [
        ({"hypervisor": True, "cpu_quota_cores": 1.0}, 0.0, "pass"),
        ({"hypervisor": True, "cpu_quota_cores": None}, 1.0, "unavailable"),
        ({"hypervisor": False, "cpu_quota_cores": 1.5}, 1.0, "unavailable"),
        ({"hypervisor": False, "cpu_quota_cores": 2.0}, 1.0, "pass"),
        ({"hypervisor": None, "cpu_quota_cores": None}, 1.0, "pass"),
    ],
)
def test_a_shared_host_is_recorded_and_bare_metal_is_demanded(facts: dict[str, Any], bare_metal: float, status: str) -> None:
    bench: Any = SimpleNamespace(pool=SimpleNamespace(facts={"cpu": facts}))
    (found,) = HostLimits(bare_metal=bare_metal).judge_seal(bench, SimpleNamespace(device="cpu", threads=1))  # type: ignore[arg-type]
    assert found.status == status and f"hypervisor: {facts['hypervisor']}" in found.observed
