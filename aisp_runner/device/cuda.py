"""CUDA, the judge's side: one allocation a ring, exported by CUDA IPC; a pinned page of gate and done words a worker.

Each ring is an allocation of its own, rounded up to 2 MiB: an IPC handle exports the whole block, so nothing else may live in
it.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

import torch
from cuda.bindings import runtime

from aisp_runner.device.base import Memory
from aisp_runner.device.driver import DONE, FINISHED, GATE, GO, PAGE_BYTES, as_bytes, check, words
from aisp_runner.system import urgent

BLOCK = 2 << 20
LOOK_NS = 20_000_000
"""How often a waiting judge looks whether the worker has spoken instead of finishing, ns."""


class CudaSignals:
    """A page of host memory that the worker pins and its device polls."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("aisp-signals", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, PAGE_BYTES)
        self.words = words(self.fd)
        self.looked_ns: int | None = 0

    def open_gate(self, sequence: int) -> None:
        self.words[GATE] = sequence
        self.words[GO] = sequence

    def wait_done(self, sequence: int, seconds: float, channel: int, rest_ns: int = 0) -> bool:
        """Rests first, so that a busy machine finds this process due for a core; then spins, since one that sleeps would read
        the clock tens of microseconds late. Looks at the channel every 20 ms.
        """
        with urgent():
            return self._spin(sequence, seconds, channel, rest_ns)

    def _spin(self, sequence: int, seconds: float, channel: int, rest_ns: int) -> bool:
        page, start, self.looked_ns = self.words, time.perf_counter_ns(), 0
        if rest_ns:
            select.select([channel], [], [], rest_ns / 1e9)
        now = time.perf_counter_ns()
        end, look = start + int(seconds * 1e9), now + LOOK_NS
        while page[DONE] != sequence and page[FINISHED] != sequence:
            self.looked_ns, now = now, time.perf_counter_ns()
            if now > look:
                look = now + LOOK_NS
                spoke = bool(select.select([channel], [], [], 0)[0])
                if now > end or (spoke and page[DONE] != sequence and page[FINISHED] != sequence):
                    return False
        return True

    def reset(self) -> None:
        """A gate word of the case before would let the first batches of the next one through."""
        self.words[:] = 0

    def close(self) -> None:
        os.close(self.fd)


class CudaDevice:
    """The judge's side of the first visible GPU."""

    name = "cuda"

    def __init__(self) -> None:
        torch.cuda.init()
        self._pointers: dict[int, int] = {}
        self._free_bytes, _ = torch.cuda.mem_get_info()  # before any ring: those of kept workers must not shrink the next
        self.cache_bytes = int(torch.cuda.get_device_properties(0).L2_cache_size)
        self._scratch = torch.empty(2 * self.cache_bytes, dtype=torch.uint8, device="cuda")
        self._probe = torch.zeros(64, device="cuda")
        self.after_done(0)

    def ring_bytes(self, rings: int) -> int:
        """At most 8 GiB; half of what is free is left to the workers' own memory and to the judge's content."""
        return int(min(8 << 30, self._free_bytes // (2 * rings + 4)))

    def allocate(self, nbytes: int) -> Memory:
        nbytes = -(-nbytes // BLOCK) * BLOCK
        pointer = int(check(runtime.cudaMalloc(nbytes), f"allocating a ring of {nbytes / 2**20:.0f} MiB"))
        handle = check(runtime.cudaIpcGetMemHandle(pointer), "exporting a ring")
        memory = Memory(as_bytes(pointer, nbytes), {"nbytes": nbytes, "ipc": bytes(handle.reserved).hex()}, None)
        self._pointers[id(memory)] = pointer
        return memory

    def release(self, memory: Memory) -> None:
        """Clears and frees the ring, so that the next worker to be given these pages finds nothing in them."""
        memory.bytes.zero_()
        self.synchronize()
        check(runtime.cudaFree(self._pointers.pop(id(memory))), "freeing a ring")

    def signals(self) -> CudaSignals:
        return CudaSignals()

    def empty(self, shape: Sequence[int], dtype: str) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=getattr(torch, dtype), device="cuda")

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def flush(self) -> None:
        """Writes twice the size of L2, so that no input is found there, and takes back lines that a worker made persistent."""
        self._scratch.zero_()
        check(runtime.cudaCtxResetPersistingL2Cache(), "resetting persisting L2 lines")

    def before_reveal(self, pid: int) -> None:
        """Not done: stopping the worker's threads would not stop a kernel that already runs."""

    def after_gate(self, pid: int) -> None:
        """Nothing was stopped."""

    def after_done(self, pid: int) -> int:
        start = time.perf_counter_ns()
        self._probe.add_(1)
        torch.cuda.synchronize()
        return time.perf_counter_ns() - start

    def drained(self, pid: int, mark: int) -> int:
        return mark
