"""CUDA, the judge's side: one allocation a ring, exported by CUDA IPC; a pinned page of gate and done words a worker.

Each ring is an allocation of its own, rounded up to 2 MiB: an IPC handle exports the whole block, so nothing else may live in
it. Rank r's ring, and the judge's content and snapshots of it, lie on GPU r; a case without ranks, and every oracle, has GPU 0.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from cuda.bindings import runtime

from aisp_runner.device.base import Memory
from aisp_runner.device.driver import DONE, FINISHED, GATE, GO, PAGE_BYTES, as_bytes, bus_id, check, current, words
from aisp_runner.errors import DeviceError
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
        self.seen_ns = 0

    def open_gate(self, sequence: int) -> None:
        self.words[GATE] = sequence
        self.words[GO] = sequence

    def wait_done(self, sequence: int, seconds: float, channel: int, rest_ns: int = 0) -> bool:
        """Rests first, so that a busy machine finds this process due for a core; then spins, since one that sleeps would read
        the clock tens of microseconds late. Looks at the channel every 20 ms.
        """
        return self.wait_all([(self, channel)], sequence, seconds, rest_ns) is None

    @staticmethod
    def wait_all(ends: Sequence[tuple[CudaSignals, int]], sequence: int, seconds: float, rest_ns: int = 0) -> int | None:
        """In one loop: ranks end within microseconds of one another, and calls in between would be part of the time."""
        with urgent():
            return _spin(ends, sequence, seconds, rest_ns)

    def reset(self) -> None:
        """A gate word of the case before would let the first batches of the next one through."""
        self.words[:] = 0

    def close(self) -> None:
        os.close(self.fd)


def _spin(ends: Sequence[tuple[CudaSignals, int]], sequence: int, seconds: float, rest_ns: int) -> int | None:
    start, first = time.perf_counter_ns(), ends[0][0]
    for signals, _ in ends:
        signals.looked_ns = 0
    if rest_ns:
        select.select([channel for _, channel in ends], [], [], rest_ns / 1e9)
    now = time.perf_counter_ns()
    end, look = start + int(seconds * 1e9), now + LOOK_NS
    for number, (signals, _) in enumerate(ends):
        page = signals.words
        while page[DONE] != sequence and page[FINISHED] != sequence:
            first.looked_ns, now = now, time.perf_counter_ns()
            if now > look:
                look = now + LOOK_NS
                spoke = _spoke(ends, sequence)
                if spoke is not None or now > end:
                    return number if spoke is None else spoke
    first.seen_ns = time.perf_counter_ns()  # here: giving preference back and returning took 9 us on an H200's host
    return None


def _spoke(ends: Sequence[tuple[CudaSignals, int]], sequence: int) -> int | None:
    """The number of a worker that has spoken without having finished."""
    ready = select.select([channel for _, channel in ends], [], [], 0)[0]
    for number, (signals, channel) in enumerate(ends):
        if channel in ready and signals.words[DONE] != sequence and signals.words[FINISHED] != sequence:
            return number
    return None


@dataclass(frozen=True)
class _Gpu:
    """What the judge holds of one GPU."""

    index: int
    free_bytes: int
    """Before any ring: those of kept workers must not shrink the next."""
    cache_bytes: int
    scratch: torch.Tensor
    """Twice the size of L2."""
    probe: torch.Tensor

    @staticmethod
    def open(index: int) -> _Gpu:
        place = torch.device("cuda", index)
        free, _ = torch.cuda.mem_get_info(place)
        cache = int(torch.cuda.get_device_properties(place).L2_cache_size)
        scratch = torch.empty(2 * cache, dtype=torch.uint8, device=place)
        return _Gpu(index, free, cache, scratch, torch.zeros(64, device=place))


class CudaDevice:
    """The judge's side of the visible GPUs: as many of them as the case has ranks, the first where it has none.

    A GPU is not touched before the first case that needs it.
    """

    name = "cuda"

    def __init__(self) -> None:
        torch.cuda.init()
        self._rings: dict[int, tuple[int, int]] = {}
        """GPU and pointer of each ring, by the id of its Memory."""
        self._opened: list[_Gpu] = []
        self.use(1)
        self.cache_bytes = self._used[0].cache_bytes
        self.after_done([0])

    def use(self, ranks: int) -> None:
        there = torch.cuda.device_count()
        if ranks > there:
            raise DeviceError(
                f"ranks: {ranks} of them need a GPU each, and {there} can be seen here. Make more visible "
                "(CUDA_VISIBLE_DEVICES), declare fewer ranks, or make the plan for device=cpu."
            )
        self._opened += [_Gpu.open(index) for index in range(len(self._opened), ranks)]
        self._used = self._opened[:ranks]

    def place(self, rank: int) -> torch.device:
        return torch.device("cuda", rank)

    def seat(self, rank: int) -> tuple[dict[str, str], int]:
        """One rank sees one GPU, which no line of its own can widen, and calls it 0. NCCL reaches the others' all the same
        (docs/decisions/0018).
        """
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [name.strip() for name in visible.split(",")] if visible is not None else []
        return {"CUDA_VISIBLE_DEVICES": names[rank] if names else str(rank)}, 0

    def ring_bytes(self, rings: int) -> int:
        """At most 8 GiB; half of what is free is left to the workers' own memory and to the judge's content."""
        free = min(gpu.free_bytes for gpu in self._used)
        return int(min(8 << 30, free // (2 * rings + 4)))

    def allocate(self, nbytes: int, rank: int = 0) -> Memory:
        nbytes = -(-nbytes // BLOCK) * BLOCK
        with current(rank):
            pointer = int(check(runtime.cudaMalloc(nbytes), f"allocating a ring of {nbytes / 2**20:.0f} MiB on GPU {rank}"))
            handle = check(runtime.cudaIpcGetMemHandle(pointer), "exporting a ring")
        told = {"nbytes": nbytes, "ipc": bytes(handle.reserved).hex(), "bus": bus_id(rank)}
        memory = Memory(as_bytes(pointer, nbytes, rank), told, None)
        self._rings[id(memory)] = rank, pointer
        return memory

    def release(self, memory: Memory) -> None:
        """Clears and frees the ring, so that the next worker to be given these pages finds nothing in them."""
        gpu, pointer = self._rings.pop(id(memory))
        memory.bytes.zero_()
        torch.cuda.synchronize(gpu)
        with current(gpu):
            check(runtime.cudaFree(pointer), "freeing a ring")

    def signals(self) -> CudaSignals:
        return CudaSignals()

    def empty(self, shape: Sequence[int], dtype: str, rank: int = 0) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=getattr(torch, dtype), device=self.place(rank))

    def synchronize(self) -> None:
        for gpu in self._used:
            torch.cuda.synchronize(gpu.index)

    def flush(self) -> None:
        """Writes twice the size of L2, so that no input is found there, and takes back lines that a worker made persistent."""
        for gpu in self._used:
            with current(gpu.index):
                gpu.scratch.zero_()
                check(runtime.cudaCtxResetPersistingL2Cache(), f"resetting persisting L2 lines of GPU {gpu.index}")

    def before_reveal(self, pid: int) -> None:
        """Not done: stopping the worker's threads would not stop a kernel that already runs."""

    def after_gate(self, pid: int) -> None:
        """Nothing was stopped."""

    def after_done(self, pids: Sequence[int]) -> list[int]:
        """On all GPUs at once: one that is waited for must not give another time to finish."""
        start, took = time.perf_counter_ns(), []
        for gpu in self._used:
            gpu.probe.add_(1)
        for gpu in self._used:
            torch.cuda.synchronize(gpu.index)
            took.append(time.perf_counter_ns() - start)
        return took

    def drained(self, pids: Sequence[int], marks: Sequence[int]) -> int:
        return max(marks)
