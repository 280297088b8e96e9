"""One case while it is being tried: its stages' times, the fault it ended with, and the record it becomes."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aisp_runner import verdict
from aisp_runner.case import Case, to_json
from aisp_runner.errors import AispError, BuildError, ConfigError, DeviceError, WorkerFault
from aisp_runner.protect import registry
from aisp_runner.protect.base import ERROR, FAIL, merge
from aisp_runner.statistics import Estimate, Round, estimate

if TYPE_CHECKING:
    from aisp_runner.execute import Bench
    from aisp_runner.judge import Judge
    from aisp_runner.measure import Schedule

FORMAT = 1
"""Version of a record's layout."""


class Trial:
    """Collects what becomes of a case; `record` gives the result whatever happened."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.shields = registry.Shields(case.protections)
        self.started, self.start_ns = datetime.datetime.now(datetime.UTC), time.perf_counter_ns()
        self.stages_s: dict[str, float] = {}
        self.fault: AispError | None = None
        self.judge: Judge | None = None
        self.schedule: Schedule | None = None
        self.rounds: list[Round] = []

    def refused(self) -> bool:
        """Whether a protection has already refused the case, or broken down."""
        return any(e.status in (FAIL, ERROR) for e in self.shields.evidence)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside to the record's `stages_s`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages_s[name] = self.stages_s.get(name, 0.0) + time.perf_counter() - start

    @contextlib.contextmanager
    def catching(self) -> Iterator[None]:
        """Keeps what a worker, a compiler or the device did wrong as the case's fault."""
        import torch

        try:
            yield
        except (WorkerFault, BuildError, DeviceError, ConfigError) as fault:
            self.fault = fault
        except torch.OutOfMemoryError as full:
            self.fault = DeviceError(f"the judge's buffers do not fit in device memory: {str(full).splitlines()[0]}")

    def record(self, bench: Bench) -> dict[str, Any]:
        """The record, as schemas/record.schema.json describes it."""
        case, evidence = self.case, merge(self.shields.evidence)
        sealed = self.shields.on("timing.wall_clock_bound")
        timed = self.schedule is not None and bool(self.rounds) and self.fault is None
        times = estimate(self.rounds, self.schedule.calls, sealed) if self.schedule and timed else None
        judged = verdict.decide(evidence, self.fault, case.phase, times)
        valid = judged.status == "VALID"
        self.stages_s["total"] = (time.perf_counter_ns() - self.start_ns) / 1e9
        return {
            "format": FORMAT,
            "workload": case.workload,
            "question": case.question,
            "group": case.group,
            "variant": case.optimized.name,
            "baseline": case.baseline.name,
            "case": {"axes": dict(case.axes), "device": case.device, "held_out": case.held_out},
            "status": judged.status,
            "outcome": verdict.outcome(times.speedup if times else None, case.measure.margin) if valid else None,
            "reasons": list(judged.reasons),
            "message": judged.message,
            "speedup": self._speedup(times) if valid and times else None,
            "clock": self._clock(times) if times else None,
            "roofline": self._roofline(times) if valid and times else None,
            "samples": self._samples(),
            "evidence": [to_json(e) for e in evidence],
            "errors": self._errors(),
            "phase": case.phase,
            "require": case.require,
            "quarantined": False,
            "unprotected": any(kind.essential and name not in case.protections for name, kind in registry.known().items()),
            "candidate": case.candidate,
            "plan_sha256": bench.plan_sha256,
            "sources": {
                f"{v.source.path}::{name}": digest for v in self._variants() for name, digest in v.source.sha256.items()
            },
            "machine": bench.pool.facts.get(case.device, {}),
            "stages_s": {name: round(seconds, 4) for name, seconds in self.stages_s.items()},
            "started": self.started.isoformat(timespec="seconds"),
        }

    def _variants(self) -> tuple[Any, ...]:
        return self.case.reference, self.case.baseline, self.case.optimized

    def _speedup(self, times: Estimate) -> dict[str, float] | None:
        if times.speedup is None:
            return None
        return {**vars(times.speedup), "margin": self.case.measure.margin}

    def _clock(self, times: Estimate) -> dict[str, Any]:
        assert self.schedule is not None
        gated, cuda = self.schedule.gated, self.case.device == "cuda"
        return {
            "mode": "gated" if gated else "wall" if cuda else "shared_memory",
            "claim": self.case.claim,
            "why_not_gated": self.schedule.reason,
            "calls": to_json(self.schedule.calls),
            "rounds": len(self.rounds),
            "baseline_us": times.baseline_ns / 1e3,
            "candidate_us": times.candidate_ns / 1e3,
            "naive_speedup": times.naive,
            "handshake_us": times.handshake_ns / 1e3,
        }

    def _roofline(self, times: Estimate) -> dict[str, float] | None:
        """Rates that the candidate reached on the workload's own count of work, a second; a share of the machine's peak is
        not measured yet.
        """
        seconds = times.candidate_ns / 1e9
        if seconds <= 0:
            return None
        rates = {"bytes_per_s": self.case.work_bytes, "flops_per_s": self.case.work_flops}
        return {name: work / seconds for name, work in rates.items() if work} or None

    def _samples(self) -> list[dict[str, Any]]:
        batches = self.judge.batches if self.judge else []
        return [
            {
                "round": b.round,
                "arm": b.arm,
                "calls": b.calls,
                "gated": b.gated,
                "seed": b.seed,
                "issued_ns": b.issued_ns - self.start_ns,
                "done_ns": b.done_ns - self.start_ns,
                "drained_ns": b.done_ns - self.start_ns + b.drain_ns,
                "reported_ns": b.reported_ns,
            }
            for b in batches
        ]

    def _errors(self) -> dict[str, Any]:
        """The candidate's largest errors in all checked calls, by output."""
        if self.judge is None or not self.judge.comparisons:
            return {}
        mine = [c for c in self.judge.comparisons if c.arm == "candidate"]
        total = sum(b.calls for b in self.judge.batches if b.arm == "candidate")
        return {
            t.name: {
                "max_abs": max(c.max_abs for c in mine if c.output == t.name),
                "max_rel": max(c.max_rel for c in mine if c.output == t.name),
                "outputs_checked": sum(c.calls for c in mine if c.output == t.name),
                "outputs_total": total,
            }
            for t in self.case.outputs
            if any(c.output == t.name for c in mine)
        }
