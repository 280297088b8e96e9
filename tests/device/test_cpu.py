"""Gate, done and shared memory on a CPU; judge and worker in one process here."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import torch

from aisp_runner.device import attach, open_device
from aisp_runner.device.cpu import DRAIN_WINDOW_NS, SETTLED_NS, CpuDevice, CpuSignals, CpuWorksite, Spent, drain_ns


@pytest.fixture
def sides() -> Iterator[tuple[CpuSignals, CpuWorksite, int, int]]:
    """(judge's signals, worker's side, the judge's end of a channel, the worker's)."""
    signals = CpuSignals()
    site = CpuWorksite(os.dup(signals.fd))
    read, write = os.pipe()
    yield signals, site, read, write
    signals.close()
    for fd in (site.gate, site.done, read, write):
        os.close(fd)


def test_a_cpu_is_opened_on_either_side() -> None:
    assert open_device("cpu").name == "cpu"
    signals = CpuSignals()
    site = attach("cpu", os.dup(signals.fd))
    assert isinstance(site, CpuWorksite) and not site.gated
    signals.close()
    os.close(site.gate)
    os.close(site.done)


def test_the_gate_holds_a_worker_until_it_is_opened(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    signals, site, _, _ = sides
    passed = threading.Event()
    thread = threading.Thread(target=lambda: (site.wait_gate(1), passed.set()))
    thread.start()
    assert not passed.wait(0.05)
    signals.open_gate(1)
    assert passed.wait(2.0)
    thread.join()


def test_each_batch_needs_its_own_gate(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    signals, site, _, _ = sides
    signals.open_gate(1)
    site.wait_gate(1)
    thread = threading.Thread(target=site.wait_gate, args=(2,))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    signals.open_gate(2)
    thread.join(2.0)
    assert not thread.is_alive()


def test_done_is_seen_once_it_is_signalled(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    signals, site, channel, _ = sides
    threading.Timer(0.05, site.signal_done, (1,)).start()
    start = time.perf_counter()
    assert signals.wait_done(1, 2.0, channel)
    assert 0.04 < time.perf_counter() - start < 1.0
    assert not signals.wait_done(2, 0.01, channel), "the signal was used up"


def test_waiting_for_done_ends_when_the_time_is_up(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    start = time.perf_counter()
    assert not sides[0].wait_done(1, 0.05, sides[2])
    assert time.perf_counter() - start < 1.0


def test_waiting_for_done_ends_when_the_worker_speaks_instead(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    signals, site, channel, worker = sides
    os.write(worker, b"a fault")
    start = time.perf_counter()
    assert not signals.wait_done(1, 5.0, channel)
    assert time.perf_counter() - start < 1.0
    site.signal_done(1)
    assert signals.wait_done(1, 1.0, channel), "done counts where both are there"


def test_memory_is_shared_by_both_sides(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    device = CpuDevice()
    memory = device.allocate(8192)
    assert memory.fd is not None
    theirs = sides[1].map(memory.handle, os.dup(memory.fd))
    assert theirs.shape == memory.bytes.shape == (8192,) and not theirs.any(), "new memory is zero"
    memory.bytes[5000] = 7
    theirs[1] = 9
    assert theirs[5000] == 7 and memory.bytes[1] == 9
    device.release(memory)


def test_rings_are_apart_and_leave_no_descriptor(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    device = CpuDevice()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    one, other = device.allocate(4096), device.allocate(4096)
    one.bytes.fill_(1)
    assert not other.bytes.any()
    device.release(one)
    device.release(other)
    del one, other
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_judges_own_memory_has_the_form_that_was_asked_for() -> None:
    made = CpuDevice().empty([2, 3], "bfloat16")
    assert made.shape == (2, 3) and made.dtype == torch.bfloat16


@pytest.mark.parametrize("busy", [True, False], ids=["a process that works on", "a process that sleeps"])
def test_cpu_time_after_done_is_found(busy: bool) -> None:
    device = CpuDevice()
    other = subprocess.Popen(["sh", "-c", "while :; do :; done" if busy else "exec sleep 20"])
    time.sleep(0.1)
    found = [device.drained([other.pid], device.after_done([other.pid])) for _ in range(5)]
    other.kill()
    other.wait()
    assert max(found) > 0.3 * DRAIN_WINDOW_NS if busy else max(found) < 0.1 * DRAIN_WINDOW_NS


@pytest.mark.parametrize(
    ("settled_us", "going_us", "end_us", "found_us"),
    [
        ({1: 300}, {1: 300}, {1: 340}, 340),
        ({1: 300, 2: 700, 3: 700, 4: 650}, {1: 300, 2: 710, 3: 700, 4: 650}, {1: 350, 2: 750, 3: 750, 4: 700}, 750),
        ({1: 200, 2: 400, 3: 400}, {1: 200, 2: 400, 3: 400, 4: 700}, {1: 200, 2: 450, 3: 450, 4: 750, 5: 1000}, 1500),
        ({1: 200, "ended": 900}, {1: 250}, {1: 250, "ended": 1100}, 1100),
        ({1: 0}, {1: 0}, {1: 2900}, 2900),
    ],
    ids=["one thread", "threads that work at once", "threads that relieve one another", "threads that end", "a stale clock"],
)
def test_drained_is_what_the_clock_may_have_missed(
    settled_us: dict[Any, int], going_us: dict[Any, int], end_us: dict[Any, int], found_us: int
) -> None:
    def threads(us: dict[Any, int]) -> dict[int, int]:
        return {thread: 5_000 + 1_000 * us.get(thread, 0) for thread in (1, 2, 3, 4, 5)}

    def spent(us: dict[Any, int]) -> Spent:
        return Spent(sum(threads(us).values()) + 1_000 * us.get("ended", 0), threads(us))

    assert drain_ns(spent({}), threads(settled_us), threads(going_us), spent(end_us)) == 1_000 * found_us


IDLE = """
import threading, time
for _ in range(48): threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
print("ready", flush=True)
time.sleep(20)
"""


def test_threads_that_sleep_are_charged_for_neither_waking_nor_stopping() -> None:
    assert median(drains(IDLE)) < 0.1 * DRAIN_WINDOW_NS


RELAY = """
import threading, time
turn = threading.Semaphore()
def work():
    while True:
        with turn:
            end = time.perf_counter() + 0.0003
            while time.perf_counter() < end: pass
        time.sleep(0.0005)
for _ in range(12): threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
time.sleep(20)
"""


def test_threads_that_work_in_turns_are_found_too() -> None:
    assert median(drains(RELAY)) > 0.4 * (DRAIN_WINDOW_NS - SETTLED_NS)


def drains(program: str) -> list[int]:
    """Of a Python program that says when it is ready, ns."""
    device = CpuDevice()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        found = [device.drained([other.pid], device.after_done([other.pid])) for _ in range(9)]
        other.kill()
    return found


def test_a_process_that_has_ended_uses_no_cpu_time() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    device = CpuDevice()
    assert device.drained([ended.pid], device.after_done([ended.pid])) == 0


def test_a_cpu_has_no_queue_for_a_gate(sides: tuple[CpuSignals, CpuWorksite, int, int]) -> None:
    for act in (sides[1].arm_gate, sides[1].enqueue_done):
        with pytest.raises(NotImplementedError, match="a CPU has no queue to put a gate on"):
            act(1)
