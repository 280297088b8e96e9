"""Who is on GPUs that the case does not name, as told before and after."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from aisp_runner import gpu_use
from aisp_runner.gpu_use import GpuUse
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.cuda.device_census import DeviceCensus

Told = tuple[dict[int, GpuUse], str]


@pytest.fixture
def helper() -> Iterator[int]:
    """A process that this one has started in a session of its own."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield child.pid
    child.kill()
    child.communicate()


def seen(monkeypatch: pytest.MonkeyPatch, before: Told, after: Told) -> list[Evidence | None]:
    """Evidence on a candidate that is this very process, at both looks that are told so."""
    told = iter([before, after])
    monkeypatch.setattr(gpu_use, "other_gpus", lambda named: next(told))
    cast = SimpleNamespace(
        sets=[{"candidate": SimpleNamespace(pids=(os.getpid(),))}],
        server=SimpleNamespace(process=SimpleNamespace(pid=os.getpid())),
        pids=lambda: {os.getpid()},
    )
    judge = SimpleNamespace(device=SimpleNamespace(name="cuda"), case=SimpleNamespace(ranks=1), cast=cast, gpus_before={})
    return [DeviceCensus().judge_calibrate(judge), DeviceCensus().judge_conclude(judge)]  # type: ignore[arg-type]


def use(mib: float, *pids: int) -> Told:
    return {1: GpuUse(mib, frozenset(pids))}, ""


@pytest.mark.parametrize(
    ("before", "after"),
    [(use(4.0), use(4.0)), (use(4.0), use(900.0, 1)), (({}, ""), ({}, ""))],
    ids=["idle", "another user came", "there is no other GPU"],
)
def test_others_may_be_used_by_others(monkeypatch: pytest.MonkeyPatch, before: Told, after: Told) -> None:
    before_any, conclude = seen(monkeypatch, before, after)
    assert before_any is None and conclude is not None and conclude.status == "pass"


def test_a_candidate_on_another_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = seen(monkeypatch, use(4.0), use(900.0, os.getpid()))
    assert found is not None and found.status == "fail" and f"GPU 1: process {os.getpid()}" in found.observed


def test_so_is_what_it_has_started(monkeypatch: pytest.MonkeyPatch, helper: int) -> None:
    _, found = seen(monkeypatch, use(4.0), use(900.0, 1, helper))
    assert found is not None and found.status == "fail" and str(helper) in found.observed


def test_memory_of_nobody_knows_whom_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = seen(monkeypatch, use(4.0), use(900.0))
    assert found is not None and found.status == "unavailable" and "GPU 1: 896 MiB" in found.observed


def test_what_nvml_does_not_tell_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    before_any, found = seen(monkeypatch, ({}, "NVML: gone"), ({}, "NVML: gone"))
    assert before_any is not None and found is not None
    assert (before_any.status, found.status, found.observed) == ("unavailable", "unavailable", "NVML: gone")


def test_memory_on_a_gpu_of_another_lane_is_no_reason_to_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = ({1: GpuUse(900.0, frozenset(), beside=True)}, "")
    _, found = seen(monkeypatch, use(4.0), beside)
    assert found is not None and found.status == "pass"
    _, unknown = seen(monkeypatch, use(4.0), use(900.0))
    assert unknown is not None and unknown.status == "unavailable"
    own = ({1: GpuUse(900.0, frozenset({os.getpid()}), beside=True)}, "")
    _, refused = seen(monkeypatch, use(4.0), own)
    assert refused is not None and refused.status == "fail", "the candidate has no business on a neighbour's GPU"
