"""One case while it is being tried: its stages' times, the fault it ended with, and the record it becomes."""

from __future__ import annotations

import contextlib
import datetime
import errno
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aisp_runner import verdict
from aisp_runner.case import Case, to_json
from aisp_runner.errors import AispError, BuildError, ConfigError, DeviceError, HostError, WorkerFault
from aisp_runner.protect import registry
from aisp_runner.protect.base import ERROR, FAIL, merge
from aisp_runner.statistics import Estimate, Interval, estimate, median

if TYPE_CHECKING:
    from aisp_runner.execute import Bench
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.measure import Measurement

FORMAT = 2
"""Version of a record's layout."""


class Trial:
    """Collects what becomes of a case; `record` gives the result whatever happened."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.shields = registry.Shields(case.protections, device=case.device)
        self.started, self.start_ns = datetime.datetime.now(datetime.UTC), time.perf_counter_ns()
        self.stages_s: dict[str, float] = {}
        self.fault: AispError | None = None
        self.judge: Judge | None = None
        self.measured: Measurement | None = None

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

        from aisp_runner.arm import NotReady

        try:
            yield
        except (WorkerFault, BuildError, DeviceError, HostError, ConfigError) as fault:
            self.fault = fault
        except OSError as refused:  # a full /tmp, no descriptor left, no memory for a ring
            self.fault = HostError(_host_refusal(refused))
        except NotReady as stuck:
            why = "a batch that had fitted behind the gate could not be made ready again"
            self.fault = WorkerFault(str(stuck).split()[0], "hung", f"{stuck}: {why}")
        except torch.OutOfMemoryError as full:
            self.fault = DeviceError(f"the judge's buffers do not fit in device memory: {str(full).splitlines()[0]}")
        except MemoryError:
            self.fault = HostError("the judge's buffers do not fit in host memory: free some, or declare smaller sizes")
        except RuntimeError as full:  # how torch says the same of host memory
            if "allocate memory" not in str(full):
                raise
            self.fault = HostError(f"the judge's buffers do not fit in host memory: {str(full).splitlines()[0]}")

    def record(self, bench: Bench) -> dict[str, Any]:
        """The record, as schemas/record.schema.json describes it."""
        case, evidence = self.case, merge(self.shields.evidence)
        sealed = self.shields.on("timing.wall_clock_bound")
        made = self.measured if self.measured is not None and self.measured.rounds and self.fault is None else None
        times = made.estimate(sealed) if made else None
        judged = verdict.decide(evidence, self.fault, case.phase, times, case.require)
        valid = judged.status == "VALID"
        self.stages_s["total"] = (time.perf_counter_ns() - self.start_ns) / 1e9
        return {
            "format": FORMAT,
            "workload": case.workload,
            "question": case.question,
            "group": case.group,
            "variant": case.optimized.name,
            "baseline": case.baseline.name,
            "case": {"axes": dict(case.axes), "device": case.device, "held_out": case.held_out, **_bound(case)},
            "status": judged.status,
            "outcome": verdict.outcome(times.speedup, case.measure.margin, times.floor) if valid and times else None,
            "reasons": list(judged.reasons),
            "message": judged.message,
            "speedup": self._speedup(times) if valid and times else None,
            "control": _interval(times.control) if valid and times else None,
            "clock": self._clock(made, times) if made and times else None,
            "device_clock": _device_clock(made, case.measure.device_clock) if made else None,
            "roofline": self._roofline(times, bench) if valid and times else None,
            "state": self.judge.state_summary() if self.judge else None,
            "samples": self._samples(),
            "evidence": [to_json(e) for e in evidence],
            "errors": self._errors(),
            "phase": case.phase,
            "require": case.require,
            "quarantined": False,
            "unprotected": any(kind.essential and name not in case.protections for name, kind in registry.known().items()),
            "candidate": case.candidate,
            "plan_sha256": bench.plan_sha256,
            "key": bench.key_of(case).to_json(),
            "sources": {
                f"{v.source.path}::{name}": digest for v in self._variants() for name, digest in v.source.sha256.items()
            },
            "machine": bench.pool.facts.get(case.device, {}),
            "stages_s": {name: round(seconds, 4) for name, seconds in self.stages_s.items()},
            "started": self.started.isoformat(timespec="seconds"),
        }

    def _variants(self) -> tuple[Any, ...]:
        return self.case.reference, self.case.baseline, self.case.optimized

    def _speedup(self, times: Estimate) -> dict[str, Any] | None:
        if times.speedup is None:
            return None
        told = {"margin": self.case.measure.margin, "mde": times.mde, "floor": times.floor, "used": times.used}
        return vars(times.speedup) | told | {"processes": len(times.by_process)}

    def _clock(self, made: Measurement, times: Estimate) -> dict[str, Any]:
        """How time was taken. Numbers that end in _us are microseconds."""
        schedule = made.schedule
        return {
            "mode": schedule.mode if self.case.device == "cuda" else "shared_memory",
            "claim": self.case.claim,
            "source": made.source,
            "why_device": made.why_device,
            "why_not_gated": schedule.reason,
            "calls": to_json(schedule.calls),
            "processes": len(times.by_process),
            "rounds": len(made.rounds),
            "dropped": made.dropped,
            "baseline_us": times.baseline_ns / 1e3,
            "candidate_us": times.candidate_ns / 1e3,
            "control_us": times.arms_ns["control"] / 1e3 if "control" in times.arms_ns else None,
            "naive_speedup": times.naive,
            "handshake_us": times.handshake_ns / 1e3,
            "launch_gap_us": {arm: ns / 1e3 for arm, ns in made.launch_gap.items()} or None,
            "serial_us": {arm: median(ns) / 1e3 for arm, ns in made.serial.items() if ns} or None,
            "residual_gain": self._residual_gain(),
            "warm_up": {"batches": schedule.warm_up_batches, "steady": schedule.steady},
        }

    def _residual_gain(self) -> dict[str, float] | None:
        """What part of a long batch a candidate inside the threat model could still hide (docs/sealed-clock.md): work on
        revealed content before the gate opens, and work between DONE and the snapshot. At most 1: all of it.
        """
        batches = [b for b in self._batches() if b.timed and b.arm == "candidate" and b.calls and b.elapsed_ns > 0]
        if not batches:
            return None
        longest = max(b.calls for b in batches)
        long = [b for b in batches if b.calls == longest]
        frozen = self.case.device == "cpu"  # a worker on a CPU is stopped from the reveal to the gate, and again at DONE
        head = 0.0 if frozen else min(1.0, median([(b.issued_ns - b.revealed_ns) / b.elapsed_ns for b in long]))
        tail = 0.0 if frozen else min(1.0, median([(b.snapped_ns - b.done_ns) / b.elapsed_ns for b in long]))
        return {"head_start": head, "early_done": tail, "total": min(1.0, head + tail)}

    def _roofline(self, times: Estimate, bench: Bench) -> dict[str, Any] | None:
        """Rates that the candidate reached on the workload's own count of work, a second, and their share of what `aisp peak`
        measured on this machine, where it has.
        """
        seconds = times.candidate_ns / 1e9
        if seconds <= 0:
            return None
        rates = {"bytes_per_s": self.case.work_bytes, "flops_per_s": self.case.work_flops}
        found: dict[str, Any] = {name: work / seconds for name, work in rates.items() if work}
        return (found | bench.pool.share(self.case, seconds)) if found else None

    def _batches(self) -> list[Batch]:
        return self.judge.batches if self.judge else []

    def _samples(self) -> list[dict[str, Any]]:
        return [
            {
                "purpose": b.purpose,
                "process": b.process,
                "round": b.round,
                "arm": b.arm,
                "calls": b.calls,
                "mode": b.mode,
                "seed": b.seed,
                "revealed_ns": b.revealed_ns - self.start_ns,
                "issued_ns": b.issued_ns - self.start_ns,
                "done_ns": b.done_ns - self.start_ns,
                "unseen_ns": b.unseen_ns,
                "drained_ns": b.done_ns - self.start_ns + b.drain_ns,
                "reported_ns": b.reported_ns,
                "device": b.device,
                "clock_mhz": b.clock_mhz,
            }
            for b in self._batches()
        ]

    def _errors(self) -> dict[str, Any]:
        """The candidate's largest errors in all checked calls, by output."""
        if self.judge is None or not self.judge.comparisons:
            return {}
        mine = [c for c in self.judge.comparisons if c.arm == "candidate"]
        total = sum(b.calls for b in self._batches() if b.arm == "candidate")
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


def _bound(case: Case) -> dict[str, str]:
    """The GPU that a case names, in its record's `case`."""
    return {"gpu": case.gpu} if case.gpu else {}


def _host_refusal(error: OSError) -> str:
    """What the machine refused the judge, and what to do about it."""
    where = f" ({error.filename})" if error.filename else ""
    cures = {
        errno.ENOSPC: "make room there, or name another folder with TMPDIR",
        errno.EDQUOT: "make room there, or name another folder with TMPDIR",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.ENFILE: "the machine has no descriptor left: end other processes",
        errno.ENOMEM: "free host memory, or declare smaller sizes",
    }
    cure = cures.get(error.errno or 0, "see what aisp doctor says of this machine")
    return f"the machine refused the judge what the case needs: {error.strerror or error}{where}; {cure}"


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return vars(interval) if interval else None


def _device_clock(made: Measurement, kind: str) -> dict[str, Any] | None:
    """What the device's own time stamps said; None where there is nothing that could take any."""
    if not made.busy:
        return {"kind": kind, "missing": made.no_device_clock} if made.no_device_clock else None
    busy, span = (estimate(rounds, made.schedule.calls) for rounds in (made.busy, made.span))
    return {
        "kind": kind,
        "kernels": made.kernels,
        "busy_us": {arm: ns / 1e3 for arm, ns in busy.arms_ns.items()},
        "span_us": {arm: ns / 1e3 for arm, ns in span.arms_ns.items()},
        "busy_speedup": _interval(busy.speedup),
        "span_speedup": _interval(span.speedup),
    }
