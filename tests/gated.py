"""Gated modes without a GPU: a CPU has no gate, so the batches are run without one under the names of these modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import opened

from aisp_runner.arm import ArmTimeout
from aisp_runner.calibrate import Schedule
from aisp_runner.case import Measure
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import Batch, Judge
from aisp_runner.measure import Measurement, measure
from aisp_runner.protect import registry
from aisp_runner.statistics import Calls

SPINS = """
    def candidate(a, b, c):
        end = time.perf_counter() + 0.0005
        torch.add(a, b, out=c)
        while time.perf_counter() < end:
            pass

    def baseline(a, b, c):
        end = time.perf_counter() + 0.001
        torch.add(a, b, out=c)
        while time.perf_counter() < end:
            pass
"""
"""A candidate of half a millisecond, and a baseline of a whole one."""

LENIENT = registry.select({"disable": ["timing.drain_bound"]})
"""On a busy machine the drain bound has a say of its own."""

ALONE = LENIENT | {"environment.quiet_machine": {"empty_us": 1e9}}
"""And empty batches, which take as long as this machine makes them, say nothing of a GPU."""


class Gated(Judge):
    """Runs gated batches as wall batches of that name, until one cannot be made ready any more."""

    fits: float = float("inf")
    """Gated batches until then."""
    fault: Exception = ArmTimeout("candidate candidate")
    stamps: Any = None
    """What the device says of a profiled batch, from its calls."""
    empty_ns: int = 0
    """What a batch without calls takes; 0: as long as it does."""

    def run(self, role: str, calls: int, window: int, mode: str, purpose: str = "warm_up", round_: int = -1) -> Batch:
        if mode != "wall":
            self.fits -= 1
            if self.fits < 0:
                raise self.fault
        batch = super().run(role, calls, window, "wall", purpose, round_)
        batch.mode = mode
        if self.empty_ns and not calls:
            batch.done_ns = batch.issued_ns + self.empty_ns
            self.clocked[batch.sequence] = purpose, round_, role, batch.issued_ns, batch.done_ns
        batch.device = self.stamps(batch) if mode == "profiled" and self.stamps else None
        return batch


FEW = Calls((1, 3), (1, 3))


def gated(server: ForkServer, folder: Path, mode: str = "gated", **changes: Any) -> tuple[Judge, Measurement]:
    """Two rounds of a judge whose class has these values. knobs: fields of Measure. given: fields of the Case."""
    knobs = {"processes": 1, "control": False, "rounds": 2, "half_width": 10.0, "calls": (1, 3), "verify_seconds": 0.002}
    knobs |= {"device_clock": "off"} | changes.pop("knobs", {})
    given = {"n": 64, "measure": Measure(**knobs), "protections": LENIENT if changes.get("empty_ns") else ALONE} | changes.pop(
        "given", {}
    )
    with opened(server, folder, SPINS, kind=type("Gated", (Gated,), changes), **given) as judge:
        judge.measured = measure(judge, Schedule(FEW, mode), lambda done, of: None)
        judge.shields.run("conclude", judge)
    return judge, judge.measured


def stamps(batch: Batch) -> dict[str, Any]:
    """2 us a kernel, two kernels a call of the baseline and one of the candidate, 100 us from first to last."""
    each = 2 if batch.arm == "baseline" else 1
    return {
        "kernels": each * batch.calls,
        "busy_ns": 2e3 * each * batch.calls,
        "span_ns": 1e5,
        "call_ns": 2e3 * each,
        "quarter_ns": 2e3 * each,
    }
