"""Libraries and devices of the arms against one another, and the machine against what a workload demands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner import host
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.environment.pinned_stack import PinnedStack, unmet
from protect.environment.hosts import BASELINE, CANDIDATE, judge_of

STACK = {"libm.so.6": {"/lib/libm.so.6"}, "libtorch.so": {"/torch/libtorch.so"}, "fast.so": {"/staged/baseline/build/fast.so"}}


def looked(monkeypatch: pytest.MonkeyPatch, libraries: dict[str, set[str]], gpus: set[str] = frozenset()) -> list[Evidence]:  # type: ignore[assignment]
    monkeypatch.setattr(host, "libraries", {BASELINE: STACK, CANDIDATE: libraries}.__getitem__)
    monkeypatch.setattr(host, "gpu_files", {BASELINE: {"/dev/nvidia0"}, CANDIDATE: {"/dev/nvidia0", *gpus}}.__getitem__)
    return PinnedStack().judge_conclude(judge_of())


@pytest.mark.parametrize(
    ("more", "odd"),
    [
        pytest.param({}, "", id="the same"),
        pytest.param({"mine.so": {"/staged/candidate/mine.so"}}, "", id="a library of its own"),
        pytest.param({"fast.so": {"/staged/candidate/build/fast.so"}}, "", id="each arm's own kernels have one name"),
        pytest.param({"libm.so.6": {"/lib/libm.so.6", "/tmp/libm.so.6"}}, "libm.so.6", id="a second copy"),
        pytest.param({"libtorch.so": {"/staged/candidate/libtorch.so"}}, "libtorch.so", id="another file"),
        pytest.param({"libm.so.6": {"/lib/libm.so.6", "/tmp/libm.so.6 (deleted)"}}, "libm.so.6", id="a copy that was removed"),
    ],
)
def test_another_copy_of_what_the_baseline_runs_on_is_refused(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, set[str]], odd: str
) -> None:
    devices, software = looked(monkeypatch, STACK | more)
    assert (software.status, software.arm) == ("fail" if odd else "pass", "candidate")
    assert devices.status == "pass" and (not odd or odd in software.observed)


def test_a_gpu_that_the_baseline_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    devices, _ = looked(monkeypatch, STACK, {"/dev/nvidia1"})
    assert (devices.status, devices.observed) == ("fail", "the candidate has /dev/nvidia1 open")


FACTS: dict[str, Any] = {
    "cpu": "AMD EPYC 9554",
    "torch": "2.11.0+cu130",
    "gpu": {"name": "NVIDIA H200", "driver": "570.124.06", "capability": "9.0"},
}


@pytest.mark.parametrize(
    ("name", "wanted", "met"),
    [
        ("gpu", "NVIDIA H200", True),
        ("gpu", "NVIDIA H20", False),
        ("driver", "570", True),
        ("driver", "57", False),
        ("torch", "2.11", True),
        ("torch", "2.1", False),
        ("torch", "2.11.0+cu128", False),
        ("capability", "9.0", True),
        ("governor", "performance", False),
        ("clock_mhz", 1500, True),
    ],
)
def test_a_demand_is_met_by_what_begins_with_it(name: str, wanted: Any, met: bool) -> None:
    assert (unmet(name, wanted, FACTS) == "") is met


def test_a_machine_that_is_another_one_is_unavailable_and_says_both() -> None:
    bench: Any = SimpleNamespace(pool=SimpleNamespace(facts={"cuda": FACTS}))
    found = PinnedStack().judge_seal(bench, SimpleNamespace(device="cuda", ranks=1, demands={"driver": "580", "torch": "2.11"}))  # type: ignore[arg-type]
    assert [(e.status, e.observed) for e in found] == [
        ("unavailable", "driver is '570.124.06', and the workload demands '580' (environment.require)")
    ]
    met = PinnedStack().judge_seal(bench, SimpleNamespace(device="cuda", ranks=1, demands={"driver": "570"}))  # type: ignore[arg-type]
    assert [e.status for e in met] == ["pass"]
    assert PinnedStack().judge_seal(bench, SimpleNamespace(device="cuda", ranks=1, demands={})) == []  # type: ignore[arg-type]
