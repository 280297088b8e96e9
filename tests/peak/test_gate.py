"""Gate and DONE in one process, with a device that is a list of what was enqueued."""

from __future__ import annotations

import os
import threading
import time

import pytest

from aisp_runner.errors import DeviceError
from aisp_runner.peak.gate import GateClock


class FakeDevice:
    """Signals and queue at once. A call costs `seconds` on the device, which starts when the gate opens."""

    def __init__(self, seconds: float = 0.0, answers: bool = True) -> None:
        self.seconds, self.answers = seconds, answers
        self.log: list[str] = []
        self.open = threading.Event()
        self.pending = 0

    def arm_gate(self, sequence: int) -> None:
        self.open.clear()
        self.log.append(f"gate {sequence}")

    def call(self) -> None:
        self.pending += 1
        self.log.append("call")

    def enqueue_done(self, sequence: int) -> None:
        self.log.append(f"done {sequence}")

    def open_gate(self, sequence: int) -> None:
        self.log.append(f"open {sequence}")
        self.open.set()

    def wait_done(self, sequence: int, seconds: float, channel: int) -> bool:
        time.sleep(self.pending * self.seconds)
        self.pending = 0
        self.seen_ns = time.perf_counter_ns()
        self.log.append(f"seen {sequence}")
        return self.answers

    def synchronize(self) -> None:
        self.log.append("idle")

    def close(self) -> None:
        self.log.append("closed")


def test_calls_lie_between_gate_and_done_and_the_gate_opens_last() -> None:
    device = FakeDevice()
    GateClock(device, device).batch(device.call, 2)
    assert device.log == ["idle", "gate 1", "call", "call", "done 1", "open 1", "seen 1"]


def test_the_time_starts_when_the_gate_opens() -> None:
    device = FakeDevice(seconds=0.01)
    clock = GateClock(device, device)

    def slow_to_enqueue() -> None:
        time.sleep(0.05)
        device.call()

    assert 0.02 <= clock.batch(slow_to_enqueue, 2) < 0.09
    assert clock.batch(device.call, 0) < 0.01


def test_every_batch_has_a_sequence_of_its_own() -> None:
    device = FakeDevice()
    clock = GateClock(device, device)
    for _ in range(3):
        clock.batch(device.call, 1)
    assert [entry for entry in device.log if entry.startswith("gate")] == ["gate 1", "gate 2", "gate 3"]


def test_a_call_that_waits_for_the_device_is_let_go_and_refused() -> None:
    device = FakeDevice()
    clock = GateClock(device, device, enqueue_seconds=0.05)
    with pytest.raises(DeviceError, match="a call waits for the device, so it cannot be timed behind a gate"):
        clock.batch(lambda: device.open.wait(5.0), 1)
    assert device.open.is_set()


def test_a_call_that_raises_leaves_no_gate_shut() -> None:
    device = FakeDevice()

    def broken() -> None:
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        GateClock(device, device).batch(broken, 1)
    assert device.log[-1] == "open 1"


def test_a_device_that_never_says_done_is_an_error() -> None:
    device = FakeDevice(answers=False)
    with pytest.raises(DeviceError, match="did not finish a batch within 20 s"):
        GateClock(device, device).batch(device.call, 1)


def test_launch_to_done_has_no_gate_and_starts_before_the_launch() -> None:
    device = FakeDevice()

    def launch() -> None:
        time.sleep(0.02)
        device.call()

    assert GateClock(device, device).launch_to_done(launch) >= 0.02
    assert device.log == ["idle", "call", "done 1", "seen 1"]


def test_closing_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    device = FakeDevice()
    GateClock(device, device).close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert device.log == ["closed"]


def test_warming_waits_for_the_device() -> None:
    device = FakeDevice()
    GateClock(device, device).warm(device.call)
    assert device.log == ["call", "idle"]
