"""What other timers say of the same operations, in a process of its own: a line of JSON for each answer.

python -m aisp_runner.dev.peers clock  --device cuda --repeats 5      every peer on every clock operation
python -m aisp_runner.dev.peers repeat --device cuda --runs 10        A then B, the same function twice
python -m aisp_runner.dev.peers gpu                                   keeps the GPU busy until it is ended
python -m aisp_runner.dev.peers core                                  keeps a core busy until it is ended
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from aisp_runner.dev.workloads import Operation

Call = Callable[[int], None]
"""Runs the operation on slot i."""

CALLS = 100
"""Calls a sample at most."""
SLOT_BYTES = 2 << 30
"""Memory of all slots of an operation at most."""
SPIN_CYCLES = 4_000_000
"""A kernel of about 2 ms behind which calls queue up, so that none of them waits for the host."""


def slots(operation: Operation, device: str, calls: int = CALLS) -> tuple[int, Call]:
    """Slots with content of their own, and the call on one of them."""
    import torch

    from aisp_runner.dev import kernels
    from aisp_runner.device.base import slot_bytes

    function = getattr(kernels, operation.function)
    count = max(2, min(calls, SLOT_BYTES // slot_bytes((*operation.inputs, operation.output))))
    held = []
    for _ in range(count):
        given = [torch.randn(t.shape, device=device).to(getattr(torch, t.dtype)) for t in operation.inputs]
        out = torch.empty(operation.output.shape, dtype=getattr(torch, operation.output.dtype), device=device)
        held.append((*given, out))
    return count, lambda i: function(*held[i % count])


# CUDA


def flusher() -> Callable[[], None]:
    """Writes twice the size of L2, as the judge does."""
    import torch

    size = 2 * torch.cuda.get_device_properties(0).L2_cache_size
    scratch = torch.empty(size, dtype=torch.uint8, device="cuda")

    def flush() -> None:
        scratch.zero_()

    return flush


def kernel_us(call: Call, count: int, before: Callable[[], None], rotate: bool) -> list[float]:
    """Time in kernels of each of `count` calls, us, by CUPTI activity records. rotate: a slot a call, else always the first."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    before()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        torch.cuda._sleep(SPIN_CYCLES)
        for i in range(count):
            call(i if rotate else 0)
        torch.cuda.synchronize()
    cuda = torch.autograd.DeviceType.CUDA
    events = [(e.time_range.start, e.time_range.elapsed_us()) for e in profiler.events() or () if e.device_type == cuda]
    return by_call([us for _, us in sorted(events)][1:], count)  # without the sleep


def by_call(spans: list[float], count: int) -> list[float]:
    """Sums over the kernels of each call, where every call has as many. Raises RuntimeError where they cannot have."""
    each, rest = divmod(len(spans), count)
    if rest or not each:
        raise RuntimeError(f"the profiler saw {len(spans)} kernels in {count} calls")
    return [sum(spans[i * each : (i + 1) * each]) for i in range(count)]


def event_us(call: Call, count: int, flush: Callable[[], None]) -> float:
    """Median of `count` calls between two events, us, L2 flushed before each."""
    import torch

    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    for i, (start, end) in enumerate(pairs):
        flush()
        start.record()
        call(i)
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs) * 1e3


def cuda_peers(operation: Operation, repeats: int) -> dict[str, list[float]]:
    """Every peer's answer, us, `repeats` times."""
    import torch
    from triton.testing import do_bench, do_bench_cudagraph

    count, call = slots(operation, "cuda")
    flush = flusher()
    for i in range(count):
        call(i)
    torch.cuda.synchronize()
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        found.setdefault("cupti_cold", []).append(statistics.median(kernel_us(call, count, flush, rotate=True)))
        found.setdefault("cupti_hot", []).append(statistics.median(kernel_us(call, count, lambda: None, rotate=False)[1:]))
        times = do_bench(lambda: call(0), return_mode="all")
        found.setdefault("do_bench", []).append(statistics.fmean(times) * 1e3)
        found.setdefault("do_bench_median", []).append(statistics.median(times) * 1e3)
        found.setdefault("do_bench_cudagraph", []).append(do_bench_cudagraph(lambda: call(0)) * 1e3)
        found.setdefault("events", []).append(event_us(call, count, flush))
    return found


# CPU


def cpu_us(call: Call, count: int) -> float:
    """Median of `count` calls by perf_counter, us: what a script does."""
    times = []
    for i in range(count):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def cpu_peers(operation: Operation, repeats: int) -> dict[str, list[float]]:
    """perf_counter's answer, us, `repeats` times, in one thread as workers have."""
    _one_thread()
    _, call = slots(operation, "cpu", 8)
    cpu_us(call, 8)
    return {"perf_counter": [cpu_us(call, 30) for _ in range(repeats)]}


# What is asked on the command line


def clock(device: str, repeats: int, only: str) -> Iterator[dict[str, Any]]:
    """Every peer on every clock operation."""
    from aisp_runner.dev.workloads import clock_operations

    for operation in clock_operations(device, only):
        yield {"op": operation.name, **(cpu_peers if device == "cpu" else cuda_peers)(operation, repeats)}
        _free(device)


def repeat(device: str, runs: int, only: str) -> Iterator[dict[str, Any]]:
    """A then B, the same function twice: speed-ups whose true value is 1. do_bench as it comes; on a CPU 30 calls' median."""
    from aisp_runner.dev.workloads import repeat_operations

    _one_thread()
    for operation in repeat_operations(device, only):
        _, call = slots(operation, device, 8)
        _timed_us(call, device)
        yield {"op": operation.name, "speedups": [_timed_us(call, device) / _timed_us(call, device) for _ in range(runs)]}
        _free(device)


def _timed_us(call: Call, device: str) -> float:
    if device == "cpu":
        return cpu_us(call, 30)
    from triton.testing import do_bench

    return float(do_bench(lambda: call(0))) * 1e3


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _free(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()


def gpu() -> None:
    """Matrix products of 4096 without an end: a neighbour that uses all of the GPU."""
    import torch

    a: torch.Tensor = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    out = torch.empty_like(a)
    _say({"busy": "gpu"})
    while True:
        for _ in range(50):
            torch.mm(a, a, out=out)
        torch.cuda.synchronize()


def core() -> None:
    """A loop without an end."""
    _say({"busy": "core"})
    while True:
        sum(range(100_000))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m aisp_runner.dev.peers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("clock", "repeat", "gpu", "core"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", default="", help="operations whose name contains this")
    given = parser.parse_args()
    if given.what in ("gpu", "core"):
        (gpu if given.what == "gpu" else core)()
    asked = clock(given.device, given.repeats, given.only)
    for answer in asked if given.what == "clock" else repeat(given.device, given.runs, given.only):
        _say(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
