"""Managed memory of the two arms, in lists of mappings made up for the test."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aisp_runner import gpu_use
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.cuda.managed_memory import ManagedMemory


def concluded(monkeypatch: pytest.MonkeyPatch, mib: dict[int, float]) -> Evidence | None:
    """Evidence on a baseline of processes 1 and 2 and a candidate of process 3 that have so much."""
    monkeypatch.setattr(gpu_use, "managed_bytes", lambda pid: int(mib.get(pid, 0.0) * 2**20))
    arms = {"baseline": SimpleNamespace(pids=(1, 2)), "candidate": SimpleNamespace(pids=(3,))}
    return ManagedMemory().judge_conclude(SimpleNamespace(arms=arms, device=SimpleNamespace(name="cuda")))  # type: ignore[arg-type]


@pytest.mark.parametrize("mib", [{}, {1: 8.0, 2: 8.0, 3: 16.0}, {3: 0.9}], ids=["none", "as much", "within the slack"])
def test_arms_with_as_much_pass(monkeypatch: pytest.MonkeyPatch, mib: dict[int, float]) -> None:
    found = concluded(monkeypatch, mib)
    assert found is not None and found.status == "pass"


@pytest.mark.parametrize("mib", [{2: 64.0}, {3: 64.0}], ids=["the baseline has it", "the candidate has it"])
def test_one_arm_that_has_it_alone_is_refused(monkeypatch: pytest.MonkeyPatch, mib: dict[int, float]) -> None:
    found = concluded(monkeypatch, mib)
    assert found is not None and found.status == "fail" and "64.0 MiB" in found.observed and found.limit == "1 MiB apart"
