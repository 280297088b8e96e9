"""The runner's clock for a GPU, in one process: gate and DONE on the legacy default stream, on a page of host memory.

What is timed here is this package's own, so clock and work may share a process; docs/sealed-clock.md has the method. torch is
imported when a clock is opened.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol

from aisp_runner.errors import DeviceError
from aisp_runner.peak.clock import Call

ENQUEUE_SECONDS = 3.0
"""What enqueuing a batch may take. A call that waits for the device would never return while the gate is shut."""
BATCH_SECONDS = 20.0


class Signals(Protocol):
    """The side that opens the gate and watches for DONE."""

    seen_ns: int
    """When `wait_done` saw it."""

    def open_gate(self, sequence: int) -> None: ...

    def wait_done(self, sequence: int, seconds: float, channel: int) -> bool: ...

    def close(self) -> None: ...


class Queue(Protocol):
    """The side that enqueues."""

    def arm_gate(self, sequence: int) -> None: ...

    def enqueue_done(self, sequence: int) -> None: ...

    def synchronize(self) -> None: ...


class GateClock:
    """Times batches behind the gate. `close` gives its descriptors back."""

    gated = True

    def __init__(self, signals: Signals, queue: Queue, enqueue_seconds: float = ENQUEUE_SECONDS) -> None:
        self._signals, self._queue = signals, queue
        self._enqueue_seconds = enqueue_seconds
        self._sequence = 0
        self._silent, self._end = os.pipe()  # `wait_done` also watches a worker's channel; here nothing is ever said on it

    def warm(self, call: Call) -> None:
        call()
        self._queue.synchronize()

    def batch(self, call: Call, calls: int) -> float:
        """Raises DeviceError where a call waits for the device, and when DONE does not come."""
        sequence = self._next()
        self._enqueue(sequence, call, calls)
        start = time.perf_counter_ns()
        self._signals.open_gate(sequence)
        return self._seconds_since(start, sequence)

    def launch_to_done(self, call: Call) -> float:
        """Seconds from before the host launches the call on an idle device to seeing DONE; there is no gate."""
        sequence = self._next()
        start = time.perf_counter_ns()
        call()
        self._queue.enqueue_done(sequence)
        return self._seconds_since(start, sequence)

    def close(self) -> None:
        self._signals.close()
        os.close(self._silent)
        os.close(self._end)

    def _next(self) -> int:
        self._queue.synchronize()
        self._sequence += 1
        return self._sequence

    def _enqueue(self, sequence: int, call: Call, calls: int) -> None:
        """Whatever happens, no gate is left shut behind: the device would wait for ever."""
        forced = threading.Event()

        def force() -> None:
            forced.set()
            self._signals.open_gate(sequence)

        guard = threading.Timer(self._enqueue_seconds, force)
        guard.start()
        try:
            self._queue.arm_gate(sequence)
            for _ in range(calls):
                call()
            self._queue.enqueue_done(sequence)
        except BaseException:
            self._signals.open_gate(sequence)
            raise
        finally:
            guard.cancel()
            guard.join()  # or its thread would ask for the interpreter while the clock runs
        if forced.is_set():
            self._queue.synchronize()
            raise DeviceError("a call waits for the device, so it cannot be timed behind a gate")

    def _seconds_since(self, start: int, sequence: int) -> float:
        if not self._signals.wait_done(sequence, BATCH_SECONDS, self._silent):
            raise DeviceError(f"the device did not finish a batch within {BATCH_SECONDS:.0f} s")
        return (self._signals.seen_ns - start) / 1e9


def open_clock() -> GateClock:
    """The clock of the first visible GPU. Raises DeviceError where it has no stream memory operations."""
    from aisp_runner.device.cuda import CudaSignals
    from aisp_runner.device.cuda_worker import CudaWorksite

    signals = CudaSignals()
    return GateClock(signals, CudaWorksite(os.dup(signals.fd)))
