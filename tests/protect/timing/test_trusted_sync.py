"""Replaced clocks and waits are seen; run in this process, which is put back as it was."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aisp_runner.protect.timing import trusted_sync
from aisp_runner.protect.timing.trusted_sync import TrustedSync


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker that has booted."""
    monkeypatch.setattr(trusted_sync, "_AT_BOOT", {})
    made = SimpleNamespace(site=SimpleNamespace(synchronize=lambda: None), finish=None)
    TrustedSync().worker_boot(made)  # type: ignore[arg-type]
    return made


def test_the_wait_is_the_devices_own(worker: Any) -> None:
    assert worker.finish is worker.site.synchronize
    found = TrustedSync().worker_after_batch(worker)
    assert (found.status, found.witness) == ("pass", "worker")


@pytest.mark.parametrize("name", ["perf_counter_ns", "perf_counter", "time"])
def test_a_replaced_clock_is_named(worker: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original = getattr(time, name)
    monkeypatch.setattr(time, name, lambda: original())
    found = TrustedSync().worker_after_batch(worker)
    assert found.status == "fail" and found.observed == f"replaced: time.{name}"


def test_a_replaced_wait_is_named(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    assert "torch.cuda.synchronize" in TrustedSync().worker_after_batch(worker).observed
    monkeypatch.undo()


def test_a_wait_that_was_swapped_in_the_worker_is_seen(worker: Any) -> None:
    worker.finish = lambda: None
    assert TrustedSync().worker_after_batch(worker).observed == "replaced: the wait itself"
