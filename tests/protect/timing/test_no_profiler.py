"""A profiler, a trace hook or a debugging switch that is on in a worker."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import pytest
import torch

from aisp_runner.protect.timing.no_profiler import SWITCHES, NoProfiler, hooks

WORKER = SimpleNamespace(job={"role": "baseline"})


def ignore(*_: object) -> None:
    """A hook that does nothing."""


@contextmanager
def set_and_reset(setter: Callable[[object], None], before: object) -> Iterator[None]:
    setter(ignore)
    try:
        yield
    finally:
        setter(before)


@contextmanager
def tracing_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


ON: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "sys.setprofile": lambda: set_and_reset(sys.setprofile, sys.getprofile()),  # type: ignore[arg-type]
    "sys.settrace": lambda: set_and_reset(sys.settrace, sys.gettrace()),  # type: ignore[arg-type]
    "threading.setprofile": lambda: set_and_reset(threading.setprofile, threading.getprofile()),  # type: ignore[arg-type]
    "threading.settrace": lambda: set_and_reset(threading.settrace, threading.gettrace()),  # type: ignore[arg-type]
    "a profiler of torch": torch.autograd.profiler.profile,
    "torch.autograd.set_detect_anomaly": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "tracemalloc": tracing_memory,
}


@pytest.mark.parametrize("name", ON)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_on_is_refused_and_named(name: str) -> None:
    before = hooks()  # where the tests' own coverage is measured, a trace hook is on
    with ON[name]():
        found = NoProfiler().worker_after_batch(WORKER)  # type: ignore[arg-type]
    assert found.status == "fail" and name in found.observed
    assert found.arm == "baseline" and found.witness == "worker"
    assert hooks() == before


@pytest.mark.parametrize("name", SWITCHES)
def test_a_debugging_switch_in_the_environment_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert name in NoProfiler().worker_after_batch(WORKER).observed  # type: ignore[arg-type]
    monkeypatch.delenv(name)
    assert name not in hooks()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_a_tool_of_sys_monitoring_is_refused() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    free = next(number for number in range(6) if monitoring.get_tool(number) is None)
    monitoring.use_tool_id(free, "a tool of this test")
    try:
        assert "sys.monitoring (a tool of this test)" in hooks()
    finally:
        monitoring.free_tool_id(free)


def test_a_process_with_nothing_on_passes() -> None:
    before = sys.gettrace()
    sys.settrace(None)
    try:
        found = NoProfiler().worker_after_batch(WORKER)  # type: ignore[arg-type]
    finally:
        sys.settrace(before)
    if before is None:
        assert found.status == "pass" and found.observed == "no profiler, trace hook or debugging switch is on"
