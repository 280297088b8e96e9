"""CPU: slots in anonymous shared memory (memfd), gate and done as eventfds.

The judge sleeps while a batch runs, so it takes no core from the worker. Waking it costs tens of microseconds; the handshake
that `measure` finds with the baseline accounts for that.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from aisp_runner.device.base import Memory, Replay, Stamps
from aisp_runner.system import cpu_ns_or_none, freeze, thaw, thread_cpu_ns

DRAIN_WINDOW_NS = 3_000_000
"""How long the judge watches the worker's CPU clock after DONE, ns."""

SETTLED_NS = 1_000_000
"""From here on, ns, all that any thread does counts. Before that threads are woken, and put away what they worked with."""

STOP_NS = 200_000
"""What stopping a thread may cost it, ns: 6 us were seen on two cores, about 45 us on sixteen (docs/decisions/0006)."""


class CpuSignals:
    """Two eventfds, sent to the worker as one socket that carries both."""

    looked_ns: int | None = None

    def __init__(self) -> None:
        self.seen_ns = 0
        self.gate = os.eventfd(0)
        self.done = os.eventfd(0)
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(mine, [b"signals"], [self.gate, self.done])
        mine.close()
        self._carrier = theirs
        self.fd = theirs.fileno()

    def open_gate(self, sequence: int) -> None:
        os.eventfd_write(self.gate, sequence)

    def wait_done(self, sequence: int, seconds: float, channel: int, rest_ns: int = 0) -> bool:
        """Sleeps until it is woken. A worker can only add to the counter; an early or forged DONE is left to the checks of
        the output.
        """
        ready, _, _ = select.select([self.done, channel], [], [], seconds)
        self.seen_ns = time.perf_counter_ns()
        if self.done in ready:
            os.eventfd_read(self.done)
        return self.done in ready

    @staticmethod
    def wait_all(ends: Sequence[tuple[CpuSignals, int]], sequence: int, seconds: float, rest_ns: int = 0) -> int | None:
        """One after the other: a judge that sleeps through the last rank's end is woken by it."""
        for number, (signals, channel) in enumerate(ends):
            if not signals.wait_done(sequence, seconds, channel):
                return number
            ends[0][0].seen_ns = signals.seen_ns
        return None

    def reset(self) -> None:
        """Counters are empty between batches."""

    def close(self) -> None:
        self._carrier.close()
        os.close(self.gate)
        os.close(self.done)


class CpuDevice:
    """The judge's side: memory from memfd_create, mapped by judge and worker."""

    name = "cpu"
    cache_bytes = 0

    def use(self, ranks: int) -> None:
        """All ranks share the memory of the machine."""

    def place(self, rank: int) -> torch.device:
        return torch.device("cpu")

    def seat(self, rank: int) -> tuple[dict[str, str], int]:
        """Nothing to hide: cores are the scheduler's."""
        return {}, 0

    def ring_bytes(self, rings: int) -> int:
        """Pages that no batch uses are never touched, so rings may add up to more than there is."""
        return 256 << 20

    def allocate(self, nbytes: int, rank: int = 0) -> Memory:
        fd = os.memfd_create("aisp-ring", os.MFD_CLOEXEC)
        os.ftruncate(fd, nbytes)
        return Memory(_map(fd, nbytes), {"nbytes": nbytes}, fd)

    def release(self, memory: Memory) -> None:
        """The pages go with the last mapping; the judge's descriptor goes now."""
        if memory.fd is not None:
            os.close(memory.fd)

    def signals(self) -> CpuSignals:
        return CpuSignals()

    def empty(self, shape: Sequence[int], dtype: str, rank: int = 0) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=getattr(torch, dtype))

    def synchronize(self) -> None:
        """Nothing is asynchronous here."""

    def flush(self) -> None:
        """Not done on a CPU: the ring is rewritten before every batch and is larger than a core's own cache."""

    def before_reveal(self, pid: int) -> None:
        """Stops the worker: a thread that watches its inputs would otherwise have a head start."""
        freeze(pid)

    def after_gate(self, pid: int) -> None:
        thaw(pid)

    def after_done(self, pids: Sequence[int]) -> list[Spent]:
        """Stops the worker where it is: nothing of it writes while the judge looks, and its CPU time is exact."""
        for pid in pids:
            freeze(pid)
        return [Spent.of(pid) for pid in pids]

    def drained(self, pids: Sequence[int], marks: Sequence[Spent]) -> int:
        """Lets the worker go on for 3 ms and stops it again; ranks all at the same time."""
        for pid in pids:
            thaw(pid)
        time.sleep(SETTLED_NS / 1e9)
        settled = [thread_cpu_ns(pid) for pid in pids]
        time.sleep((DRAIN_WINDOW_NS - SETTLED_NS) / 1e9)
        going = [thread_cpu_ns(pid) for pid in pids]
        for pid in pids:
            freeze(pid)
        found = [drain_ns(*of) for of in zip(marks, settled, going, [Spent.of(pid) for pid in pids], strict=True)]
        for pid in pids:
            thaw(pid)
        return max(0, *found)


@dataclass(frozen=True)
class Spent:
    """CPU time of a process that stands still, ns."""

    total_ns: int
    threads_ns: dict[int, int]
    """By thread; those that have ended count in `total_ns` alone."""

    @staticmethod
    def of(pid: int) -> Spent:
        threads_ns = thread_cpu_ns(pid)
        return Spent(cpu_ns_or_none(pid) or sum(threads_ns.values()), threads_ns)


def drain_ns(done: Spent, settled_ns: dict[int, int], going_ns: dict[int, int], end: Spent) -> int:
    """The most that one thread worked, ended ones taken for one, or what all did from SETTLED_NS on, if that is more; ns.

    Threads that work at the same time hide no more of the clock than one of them; threads that relieve one another hide at most
    SETTLED_NS and what the limit leaves. `settled_ns`, `going_ns`: by thread, read while the process went on at SETTLED_NS and
    just before the end; exact for a thread that slept then, which is how stopping many is told from work that many do.
    """
    worked = {thread: ns - done.threads_ns.get(thread, 0) for thread, ns in end.threads_ns.items()}
    at_end = {thread: max(going_ns.get(thread, 0), ns - STOP_NS) for thread, ns in end.threads_ns.items()}
    late = sum(max(0, ns - settled_ns.get(thread, done.threads_ns.get(thread, 0))) for thread, ns in at_end.items())
    ended = end.total_ns - done.total_ns - sum(worked.values())
    return max(0, ended, late, *worked.values())


class CpuWorksite:
    """The worker's side."""

    gated = False

    def __init__(self, signals: int) -> None:
        carrier = socket.socket(fileno=signals)
        _, fds, _, _ = socket.recv_fds(carrier, 16, 2)
        carrier.close()
        self.gate, self.done = fds

    def map(self, handle: dict[str, Any], fd: int | None) -> torch.Tensor:
        assert fd is not None
        memory = _map(fd, handle["nbytes"])
        os.close(fd)
        return memory

    def unmap(self, memory: torch.Tensor) -> None:
        """The pages go with the last tensor that looks at them."""

    def arm_gate(self, sequence: int) -> None:
        raise NotImplementedError("a CPU has no queue to put a gate on")

    def enqueue_done(self, sequence: int) -> None:
        raise NotImplementedError("a CPU has no queue to put a gate on")

    def wait_gate(self, sequence: int) -> None:
        os.eventfd_read(self.gate)

    def signal_done(self, sequence: int) -> None:
        os.eventfd_write(self.done, sequence)

    def capture(self, calls: Callable[[], None]) -> Replay:
        raise RuntimeError("a CPU has no graphs to capture calls into")

    def profiled(self, by: str) -> AbstractContextManager[Stamps]:
        raise NotImplementedError("a CPU takes no time stamps of its own")

    def touch(self) -> None:
        """Nothing needs it: an empty batch wakes the same threads as a full one."""

    def synchronize(self) -> None:
        """Nothing is asynchronous here."""


def _map(fd: int, nbytes: int) -> torch.Tensor:
    return torch.frombuffer(mmap.mmap(fd, nbytes), dtype=torch.uint8)
