"""The judge's side of gate and DONE on a GPU: a page of host memory, so that it can be tried without one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("cuda.bindings")

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
