"""A clock that is told what calls cost, and stored ceilings with round numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aisp_runner.case import Case, Source, Tensor, Variant
from aisp_runner.peak.store import Peak, Value

Call = Callable[[], object]


class FakeClock:
    """Batches take `handshake` plus what each call costs. Time passes only inside batches and rests."""

    def __init__(self, handshake: float = 10e-6, gated: bool = True) -> None:
        self.gated = gated
        self.handshake = handshake
        self.costs: dict[Call, Callable[[float, int], float]] = {}
        self.now = 0.0
        self.batches: list[int] = []
        self.warmed: list[Call] = []

    def cost(self, call: Call, seconds: float | Callable[[float, int], float]) -> Call:
        """seconds: of a call, or a function of (time, batches so far) that gives them."""
        self.costs[call] = seconds if callable(seconds) else lambda now, count: seconds
        return call

    def rest(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now

    def warm(self, call: Call) -> None:
        self.warmed.append(call)

    def batch(self, call: Call, calls: int) -> float:
        took = self.handshake + calls * self.costs[call](self.now, len(self.batches))
        self.batches.append(calls)
        self.now += took
        return took


def gpu_peak(**changes: Any) -> Peak:
    """An H200 with round numbers."""
    rates = {
        "copy": 4e12,
        "l2": 6e12,
        "matmul_fp32": 50e12,
        "matmul_tf32": 400e12,
        "matmul_bf16": 750e12,
        "matmul_fp16": 750e12,
        "matmul_fp8": 1400e12,
        "h2d": 55e9,
    }
    units = {name: "FLOP/s" if "matmul" in name else "B/s" for name in rates}
    values = {name: Value(units[name], rate, "made up", 0.01, 9) for name, rate in rates.items()}
    values |= {"launch_gap": Value("s", 1.7e-6, "made up", 0.01, 9), "peer": Value("B/s", None, reason="one GPU is visible")}
    made: dict[str, Any] = {
        "device": "cuda",
        "key": "nvidia-h200-580.1",
        "name": "NVIDIA H200",
        "measured": "2026-01-02T03:04:05+00:00",
        "seconds": 15.0,
        "hardware": {"driver": "580.1", "l2_bytes": 60 << 20},
        "versions": {"aisp_run": "0.1.0", "torch": "2.11.0", "triton": None},
        "values": values,
    }
    return Peak(**{**made, **changes})


def cpu_peak() -> Peak:
    """A CPU whose cores have 1 MiB of their own and share 32 MiB."""
    one = {"copy": 10e9, "cache": 100e9, "matmul_fp32": 100e9}
    values = {f"{name}_one_thread": Value("B/s", rate) for name, rate in one.items()}
    values |= {f"{name}_all_threads": Value("B/s", 8 * rate) for name, rate in one.items()}
    hardware = {"cache_bytes": 32 << 20, "core_cache_bytes": 1 << 20}
    return gpu_peak(device="cpu", key="example-cpu-8-cores", name="Example CPU", hardware=hardware, values=values)


def case(device: str = "cuda", dtype: str = "float32", **changes: Any) -> Case:
    """A case with 12 GB to move and 1 GFLOP to do."""
    variant = Variant("v", Source("x.py", {}), "v")
    tensor = Tensor("a", (1024, 1024), dtype, "activation")
    count = Tensor("count", (4,), "int32", "activation")
    made: dict[str, Any] = {
        "workload": "made_up",
        "question": "",
        "group": "",
        "origin": "",
        "axes": {},
        "held_out": False,
        "device": device,
        "inputs": (count, tensor),
        "outputs": (),
        "reference": variant,
        "baseline": variant,
        "optimized": variant,
        "work_bytes": 12e9,
        "work_flops": 1e9,
    }
    return Case(**{**made, **changes})
