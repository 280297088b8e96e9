"""Whether another process computes on the GPU, as empty batches say, and what the device's time stamps may decide then.

Two contexts take turns of about 2 ms, and an empty batch waits for one. Pure functions of a case and its batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.intervals import median

if TYPE_CHECKING:
    from aisp_runner.case import Case
    from aisp_runner.judge import Batch, Judge

EMPTY_US = 1200.0
"""What a batch without calls may take on a GPU, the median over the rounds, us. On an H200: 250 to 420, 2400 where another
process computes.
"""

STEP_NS = 32
"""Time stamps come in steps of so many ns."""
LEAST_NS = 200 * STEP_NS
"""A call that takes less than this, ns, is not told by time stamps: all its batches may agree on one step of 0.5 % of it."""

TURN_NS = 2_000_000
"""How long the turns are, ns, in which a GPU serves two processes. A call that takes longer has had another's in its middle."""

NEAR = 1.25
"""Calls of a batch that take up to this many times the quickest are of one kind; a longer one had another process's turn, a
millisecond or two, in its middle.
"""

READERS = ("cupti", "kineto")
"""Values of measure.device_clock by which time stamps are read."""


@dataclass(frozen=True)
class EmptyBatches:
    """What the batches without calls of a case's rounds took."""

    us: tuple[float, ...]
    limit_us: float

    @property
    def typical_us(self) -> float:
        """Their median."""
        return median(list(self.us))

    @property
    def shared(self) -> bool:
        """Whether another process computes on the GPU."""
        return self.typical_us > self.limit_us

    def __str__(self) -> str:
        return f"a batch without calls took {self.typical_us:.0f} us on the GPU (median of {len(self.us)})"


def empty_batches(batches: Iterable[Batch], limit_us: float) -> EmptyBatches | None:
    """Those of the rounds; None where there is none."""
    us = tuple(b.elapsed_ns / 1e3 for b in batches if not b.calls and b.purpose == "round")
    return EmptyBatches(us, limit_us) if us else None


def limit_us(case: Case) -> float:
    """The limit that environment.quiet_machine has in this case, us."""
    return float(case.protections.get("environment.quiet_machine", {}).get("empty_us", EMPTY_US))


def answerable(case: Case, mode: str) -> bool:
    """Whether time stamps, where somebody reads them, may decide a case: they pass through the worker, so the code has to be
    trusted; they know no host time; and the clocks of several GPUs have no common start.
    """
    return case.candidate is None and case.claim == "kernel" and case.ranks == 1 and mode in ("graph", "gated")


def turn_us(judge: Judge) -> float:
    """How long an operation of the judge's may wait for its turn where time stamps decide, us: as long as an empty batch took
    at most. 0 where the judge's clock decides.
    """
    if judge.measured is None or not judge.measured.stamped:
        return 0.0
    seen = empty_batches(judge.batches, limit_us(judge.case))
    return max(seen.us) if seen else 0.0


def profiled(batches: Iterable[Batch], arm: str) -> list[Batch]:
    """An arm's batches with time stamps."""
    return [b for b in batches if b.arm == arm and b.mode == "profiled" and b.device and "error" not in b.device]


def told_ns(batch: Batch) -> float:
    """The least time that a batch took if its time stamps are true, ns: what it was in kernels, and its calls by quarter_ns."""
    assert batch.device is not None
    return max(float(batch.device["busy_ns"]), float(batch.device["quarter_ns"]) * batch.calls / NEAR)


def most_told(batches: Sequence[Batch]) -> Batch | None:
    """The batch of which time stamps tell most beside what the judge's clock saw of it; None of none."""
    return max(batches, key=lambda b: told_ns(b) / max(1, b.elapsed_ns), default=None)
