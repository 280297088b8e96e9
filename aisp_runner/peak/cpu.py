"""The ceilings of the CPU, with one thread and with all: memory by copy and triad, caches by copy, arithmetic by a product.

Timed by the wall, since nothing runs behind a gate here. torch is imported when it is measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner.errors import DeviceError
from aisp_runner.machine import ROOT
from aisp_runner.peak.clock import Call, Clock, Effort, Timing, Way, best, timing
from aisp_runner.peak.store import Try, Value

MIB = 1 << 20
KINDS = ("copy", "triad", "cache", "matmul_fp32")
"""What is measured, with one thread and with all."""
CACHE_STEPS = ((16 << 10, 48 << 10), (128 << 10, 384 << 10), (512 << 10, 1536 << 10))
"""Bytes of a small and a large copy, source and target together, by thread. The difference is free of what a call costs."""


@dataclass(frozen=True)
class Sizes:
    """How large the arrays are."""

    array_bytes: int = 256 * MIB
    """Of each of the three arrays of a triad; at least four times the last-level cache shows memory and not the cache."""
    products: tuple[int, ...] = (1024, 2048)
    """n of the n x n x n products; one thread takes the first."""
    cache_steps: tuple[tuple[int, int], ...] = CACHE_STEPS


class WallClock:
    """Runs the calls of a batch one after the other and looks at the time before and after."""

    gated = False

    def warm(self, call: Call) -> None:
        call()

    def batch(self, call: Call, calls: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - start) / 1e9


def measure(seconds: float, sizes: Sizes | None = None, root: Path = ROOT) -> tuple[dict[str, Value], dict[str, Any]]:
    """All values, by name, and the caches. seconds: about how long it may take, some 5 s at least with the default sizes."""
    found = caches(root)
    cores = usable_cores()
    sizes = sizes or fitting(found["cache_bytes"] or 0, cores)
    effort = Effort(repeats=9, rest_s=0.0, batch_s=max(0.001, seconds / 500))
    clock, values = WallClock(), {}
    for name, threads, ns in (("one_thread", 1, sizes.products[:1]), ("all_threads", cores, sizes.products)):
        with torch_threads(threads):
            values[f"copy_{name}"] = best(clock, copies(sizes.array_bytes), "B/s", effort)[0]
            values[f"triad_{name}"] = best(clock, triads(sizes.array_bytes), "B/s", effort)[0]
            values[f"cache_{name}"] = cache(clock, sizes.cache_steps, threads, effort)
            values[f"matmul_fp32_{name}"] = best(clock, products(ns), "FLOP/s", effort)[0]
    for name in KINDS:
        values[f"{name}_all_threads"] = at_least(values[f"{name}_all_threads"], values[f"{name}_one_thread"])
    return values, found | {"threads": cores, "array_bytes": sizes.array_bytes}


def at_least(all_threads: Value, one_thread: Value) -> Value:
    """What all threads can do is never less than what one did: on a busy machine the others only wait."""
    if (one_thread.value or 0.0) <= (all_threads.value or 0.0):
        return all_threads
    return dataclasses.replace(one_thread, how=f"{one_thread.how}, 1 thread", tried=all_threads.tried + one_thread.tried)


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fitting(cache_bytes: int, cores: int) -> Sizes:
    """Arrays of four times the last-level cache, 64 MiB to 1 GiB, as far as a sixteenth of the memory allows."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = min(max(64 * MIB, 4 * cache_bytes), 1024 * MIB, memory // 16)
    products = (1024,) if cores <= 4 else (1024, 2048) if cores <= 16 else (2048, 4096)
    return Sizes(array_bytes=wanted // MIB * MIB, products=products)


def caches(root: Path = ROOT) -> dict[str, int | None]:
    """cache_bytes: the largest cache of CPU 0, which others may share; core_cache_bytes: the largest that only its own threads
    share. None where /sys does not tell.
    """
    own, largest = None, None
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, text = ((index / name).read_text().strip() for name in ("type", "size"))
            level = int((index / "level").read_text())
        except (OSError, ValueError):
            continue
        size = _size(text)
        if kind == "Instruction" or size is None:
            continue
        largest = max(largest or 0, size)
        own = max(own or 0, size) if level <= 2 else own
    return {"cache_bytes": largest, "core_cache_bytes": own}


def copies(nbytes: int) -> Iterator[Way]:
    """target = source: bytes read and bytes written, both counted, as STREAM does."""
    import torch

    source = torch.ones(nbytes // 8, dtype=torch.float64)
    target = torch.zeros_like(source)
    yield Way(f"torch copy_, {_text(nbytes)}", lambda: target.copy_(source), 2.0 * source.nbytes)


def triads(nbytes: int) -> Iterator[Way]:
    """a = b + 3 c: three arrays, each counted once, as STREAM does."""
    import torch

    b = torch.ones(nbytes // 8, dtype=torch.float64)
    c, a = torch.ones_like(b), torch.zeros_like(b)
    yield Way(f"torch add, {_text(nbytes)}", lambda: torch.add(b, c, alpha=3.0, out=a), 3.0 * b.nbytes)


def products(sizes: Sequence[int]) -> Iterator[Way]:
    """n x n x n products of normal random numbers in float32, 2 n**3 operations."""
    import torch

    for n in sizes:
        a, b = torch.randn(n, n), torch.randn(n, n)
        yield _mm(a, b)


def _mm(a: Any, b: Any) -> Way:
    import torch

    n, c = a.shape[0], torch.empty_like(a)
    return Way(f"torch.mm, {n}^3", lambda: torch.mm(a, b, out=c), 2.0 * n**3)


def cache(clock: Clock, steps: Sequence[tuple[int, int]], threads: int, effort: Effort) -> Value:
    """Copy inside the caches: what is copied more, over the time it takes longer, at the best of the steps."""
    tried: list[Try] = []
    repeats = 0
    for small, large in steps:
        how = f"torch copy_, {_text(small * threads)} to {_text(large * threads)}"
        try:
            first, second = (_copied(clock, nbytes * threads, effort) for nbytes in (small, large))
            longer = second.seconds - first.seconds
            if longer <= 0:
                raise DeviceError("the larger copy took no longer than the smaller one")
        except (RuntimeError, DeviceError) as refused:
            tried.append(Try(how, None, None, str(refused)))
            continue
        tried.append(Try(how, (large - small) * threads / longer, max(first.spread, second.spread)))
        repeats = second.repeats
    found = max((t for t in tried if t.value), key=lambda t: t.value or 0.0, default=None)
    if found is None:
        return Value("B/s", None, reason="; ".join(dict.fromkeys(t.reason for t in tried)), tried=tuple(tried))
    return Value("B/s", found.value, found.how, found.spread, repeats, tried=tuple(tried))


def _copied(clock: Clock, nbytes: int, effort: Effort) -> Timing:
    import torch

    source = torch.ones(nbytes // 16, dtype=torch.float64)
    target = torch.zeros_like(source)
    return timing(clock, lambda: target.copy_(source), effort)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch uses so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _size(text: str) -> int | None:
    """A size of /sys, such as 512K or 32M, in bytes."""
    units = {"K": 1 << 10, "M": MIB, "G": 1 << 30}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    return int(number) * unit if number.isdigit() else None


def _text(nbytes: int) -> str:
    return f"{nbytes / MIB:g} MiB" if nbytes >= MIB else f"{nbytes / 1024:g} KiB"
