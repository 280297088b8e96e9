"""The judge's side of gate and DONE on a GPU: a page of host memory, so that it can be tried without one."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("cuda.bindings")

from aisp_runner.device import cuda
from aisp_runner.device.cuda import CudaSignals
from aisp_runner.device.driver import DONE, FINISHED, GATE


@pytest.fixture
def signals() -> Iterator[CudaSignals]:
    made = CudaSignals()
    yield made
    made.close()


@pytest.fixture
def silent() -> Iterator[int]:
    end, other = os.pipe()
    yield end
    os.close(end)
    os.close(other)


def finish(signals: CudaSignals, seconds: float, word: int = DONE) -> threading.Timer:
    timer = threading.Timer(seconds, lambda: signals.words.__setitem__(word, 1))
    timer.start()
    return timer


@pytest.mark.parametrize("word", [DONE, FINISHED])
def test_the_end_is_seen_and_lies_after_the_last_look(signals: CudaSignals, silent: int, word: int) -> None:
    timer = finish(signals, 0.05, word)
    start = time.perf_counter_ns()
    assert signals.wait_done(1, 2.0, silent)
    done = time.perf_counter_ns()
    timer.join()
    assert signals.looked_ns is not None and start < signals.looked_ns <= done
    assert done - start > 45_000_000


def test_the_clock_is_read_before_anything_else_is_done(
    signals: CudaSignals, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving preference back takes microseconds, which are not the batch's."""
    left = []

    @contextlib.contextmanager
    def slow_to_leave() -> Iterator[bool]:
        yield True
        left.append(time.perf_counter_ns())

    monkeypatch.setattr(cuda, "urgent", slow_to_leave)
    timer = finish(signals, 0.01)
    assert signals.wait_done(1, 2.0, silent)
    timer.join()
    assert signals.looked_ns is not None and signals.looked_ns < signals.seen_ns < left[0]


def test_an_end_before_the_first_look_is_told_apart(signals: CudaSignals, silent: int) -> None:
    signals.words[DONE] = 1
    assert signals.wait_done(1, 2.0, silent) and signals.looked_ns == 0


def test_a_judge_that_rests_looks_only_afterwards(signals: CudaSignals, silent: int) -> None:
    timer = finish(signals, 0.02)
    start = time.perf_counter()
    used = time.thread_time()
    assert signals.wait_done(1, 2.0, silent, rest_ns=200_000_000)
    assert time.perf_counter() - start > 0.19 and signals.looked_ns == 0, "it ended while nobody looked"
    assert time.thread_time() - used < 0.1, "a judge that rests uses no core"
    timer.join()


def test_rest_ends_when_the_worker_speaks(signals: CudaSignals) -> None:
    end, other = os.pipe()
    os.write(other, b"a fault")
    start = time.perf_counter()
    assert not signals.wait_done(1, 5.0, end, rest_ns=4_000_000_000)
    assert time.perf_counter() - start < 1.0
    os.close(end)
    os.close(other)


def test_waiting_ends_when_the_time_is_up_rest_included(signals: CudaSignals, silent: int) -> None:
    start = time.perf_counter()
    assert not signals.wait_done(1, 0.1, silent, rest_ns=80_000_000)
    assert 0.09 < time.perf_counter() - start < 0.5


def test_a_reset_shuts_the_gate(signals: CudaSignals) -> None:
    signals.open_gate(7)
    assert signals.words[GATE] == 7
    signals.reset()
    assert not any(signals.words)


@pytest.fixture
def two(signals: CudaSignals, silent: int) -> Iterator[list[tuple[CudaSignals, int]]]:
    """Two ranks' signals, and a channel each on which nobody speaks."""
    other, (end, far) = CudaSignals(), os.pipe()
    yield [(signals, silent), (other, end)]
    other.close()
    os.close(end)
    os.close(far)


@pytest.mark.parametrize("last", [0, 1])
def test_ranks_are_done_when_the_last_one_is(two: list[tuple[CudaSignals, int]], last: int) -> None:
    two[1 - last][0].words[DONE] = 1
    timer = finish(two[last][0], 0.05)
    start = time.perf_counter_ns()
    assert CudaSignals.wait_all(two, 1, 2.0) is None
    done = time.perf_counter_ns()
    timer.join()
    assert two[0][0].looked_ns is not None and done - start > 45_000_000
    assert done - two[0][0].looked_ns < 30_000_000, "the last look at any of them"


@pytest.mark.parametrize("silent_rank", [0, 1])
def test_a_rank_that_never_ends_is_the_one_that_is_named(two: list[tuple[CudaSignals, int]], silent_rank: int) -> None:
    two[1 - silent_rank][0].words[FINISHED] = 1
    assert CudaSignals.wait_all(two, 1, 0.05) == silent_rank


def test_a_rank_that_speaks_instead_ends_the_wait_for_another(two: list[tuple[CudaSignals, int]]) -> None:
    end, other = os.pipe()
    os.write(other, b"a fault")
    start = time.perf_counter()
    assert CudaSignals.wait_all([two[0], (two[1][0], end)], 1, 5.0) == 1
    assert time.perf_counter() - start < 2.0
    two[1][0].words[DONE] = 1  # it spoke because it is done: the other one is waited for
    assert CudaSignals.wait_all([two[0], (two[1][0], end)], 1, 0.1) == 0
    os.close(end)
    os.close(other)
