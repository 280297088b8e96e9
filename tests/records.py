"""Records made by hand, for tests of what reads them: `valid_record` and `refused_record`."""

from __future__ import annotations

from typing import Any

from aisp_runner import verdict
from aisp_runner.statistics import Calls, Interval, Round, by_stamps, estimate, order, stamped_rounds

CALLS = (4, 20)
MARGIN = 0.02
HANDSHAKE_US = 45


def sampled(
    us: dict[str, float], rounds: int = 3, processes: int = 2, first_ns: int = 1000
) -> tuple[list[Round], list[dict[str, Any]]]:
    """Rounds of arms that take so long a call, us, plus 45 us a batch and a little more every round; and their samples."""
    made: list[Round] = []
    samples: list[dict[str, Any]] = []
    clock = first_ns

    def batch(process: int, number: int, arm: str, calls: int) -> float:
        nonlocal clock
        elapsed = round((HANDSHAKE_US + us[arm] * calls * (1 + 0.002 * number)) * 1000)
        samples.append(sample("round", process, number, arm, calls, clock, elapsed))
        clock += elapsed + 1000
        return float(elapsed)

    for number in range(rounds):
        for process in range(processes):
            empty = batch(process, number, "baseline", 0)
            half = order(number + process, list(us))
            long: dict[str, list[float]] = {arm: [] for arm in us}
            for arm in (*half, *half[::-1]):
                long[arm].append(batch(process, number, arm, CALLS[1]))
            arms = ("baseline", "candidate") if process == 0 else ()
            short = {arm: batch(process, number, arm, CALLS[0]) for arm in arms}
            made.append(Round(process, empty, short, {arm: tuple(ns) for arm, ns in long.items()}))
    return made, samples


def sample(purpose: str, process: int, number: int, arm: str, calls: int, issued_ns: int, elapsed_ns: int) -> dict[str, Any]:
    """One batch, as a record tells of it."""
    done = issued_ns + elapsed_ns
    return {
        "purpose": purpose,
        "process": process,
        "round": number,
        "arm": arm,
        "calls": calls,
        "mode": "wall",
        "seed": 7 * number + process,
        "revealed_ns": issued_ns - 500,
        "issued_ns": issued_ns,
        "done_ns": done,
        "drained_ns": done + 500,
        "reported_ns": elapsed_ns,
        "device": None,
        "clock_mhz": None,
    }


def valid_record(baseline_us: float = 800.0, candidate_us: float = 400.0, **changes: Any) -> dict[str, Any]:
    """A VALID record of two sets of processes with a control, whose numbers come from its own samples."""
    us = {"baseline": baseline_us, "candidate": candidate_us, "control": baseline_us}
    rounds, samples = sampled(us)
    e = estimate(rounds, Calls(CALLS, CALLS))
    assert e.speedup is not None and e.control is not None
    told = {"margin": MARGIN, "mde": e.mde, "floor": e.floor, "used": e.used, "processes": len(e.by_process)}
    made = {
        "format": 2,
        "workload": "ch06_vector_add",
        "question": "Does one launch beat 256 chunked ones?",
        "group": "ch06",
        "variant": "vectorized",
        "baseline": "chunked",
        "case": {"axes": {"n": 262144}, "device": "cpu", "held_out": False},
        "status": "VALID",
        "outcome": verdict.outcome(e.speedup, MARGIN, e.floor),
        "reasons": [],
        "message": "",
        "speedup": as_json(e.speedup) | told,
        "control": as_json(e.control),
        "clock": {
            "mode": "shared_memory",
            "claim": "kernel",
            "why_not_gated": "",
            "calls": {"baseline": list(CALLS), "candidate": list(CALLS)},
            "processes": len(e.by_process),
            "rounds": len(rounds),
            "dropped": 0,
            "baseline_us": e.baseline_ns / 1000,
            "candidate_us": e.candidate_ns / 1000,
            "control_us": e.arms_ns["control"] / 1000,
            "naive_speedup": e.naive,
            "handshake_us": e.handshake_ns / 1000,
            "launch_gap_us": None,
            "serial_us": None,
            "residual_gain": {"head_start": 0.0, "early_done": 0.0, "total": 0.0},
            "warm_up": {"batches": 2, "steady": True},
        },
        "device_clock": None,
        "roofline": {"bytes_per_s": 8.1e9, "flops_per_s": 1.0e9},
        "state": None,
        "samples": samples,
        "evidence": [
            {
                "protection": "memory.late_writes",
                "stage": "after_batch",
                "witness": "judge",
                "status": "pass",
                "observed": "0 slots",
                "limit": "0 slots",
                "count": 24,
            }
        ],
        "errors": {"c": {"max_abs": 1.0e-7, "max_rel": 1.0e-7, "outputs_checked": 40, "outputs_total": 96}},
        "phase": "gate",
        "require": "valid",
        "quarantined": False,
        "candidate": None,
        "plan_sha256": "ab" * 32,
        "sources": {"kernels/vector_add.py": "cd" * 32},
        "machine": {"cpu": "a CPU", "missing": {}},
        "stages_s": {"start": 0.9, "calibrate": 0.2, "measure": 1.4, "total": 2.9},
        "started": "2025-01-02T03:04:05+00:00",
    }
    return {**made, **changes}


def stamped_record(baseline_us: float = 54.0, candidate_us: float = 27.0, **changes: Any) -> dict[str, Any]:
    """A VALID record that time stamps decided, of three rounds in either set, beside a neighbour on the GPU."""
    made = valid_record()
    us = {"baseline": baseline_us, "candidate": candidate_us, "control": baseline_us}
    clock_ns, samples = max(s["done_ns"] for s in made["samples"]), []
    for number in range(3):
        for process in range(2):
            half = order(number + process, list(us))
            for arm in (*half, *half[::-1]):
                made_of = sample("device", process, number, arm, 8, clock_ns + 1000, 4_000_000)
                ns = 1000 * us[arm] * (1 + 0.001 * number)
                device = {"kernels": 8, "busy_ns": 8 * ns, "span_ns": 9 * ns, "call_ns": 1.3 * ns, "quarter_ns": ns}
                samples.append(made_of | {"mode": "profiled", "device": device})
                clock_ns = made_of["done_ns"]
    told = stamped_rounds((s["process"], s["round"], s["arm"], s["device"]["quarter_ns"]) for s in samples)
    sealed = estimate(sampled({"baseline": 800.0, "candidate": 400.0, "control": 800.0})[0], Calls(CALLS, CALLS))
    e = by_stamps(told, sealed)
    assert e.speedup is not None and e.control is not None
    said = {"margin": MARGIN, "mde": e.mde, "floor": e.floor, "used": e.used, "processes": len(e.by_process)}
    made["case"]["device"] = "cuda"
    made["samples"] += samples
    made["clock"] |= {f"{arm}_us": ns / 1000 for arm, ns in e.arms_ns.items()}
    made["clock"] |= {"mode": "graph", "source": "device", "why_device": "another process computes on the GPU"}
    made |= {"speedup": as_json(e.speedup) | said, "control": as_json(e.control)}
    return {**made, "outcome": verdict.outcome(e.speedup, MARGIN, e.floor), **changes}


def refused_record(status: str = "INVALID", reason: str = "memory.late_writes", **changes: Any) -> dict[str, Any]:
    """A record whose status is not VALID, for one reason."""
    made = valid_record()
    seen = {**made["evidence"][0], "protection": reason, "status": "fail", "observed": "8 of 8 slots were written after DONE"}
    message = "8 of 8 output slots were written after DONE (limit: 0 slots)"
    changed = {"status": status, "outcome": None, "reasons": [reason], "message": message, "evidence": [seen]}
    return {**made, **changed, "speedup": None, "control": None, **changes}


def as_json(interval: Interval) -> dict[str, float]:
    """An interval as a record tells of it."""
    return {"value": interval.value, "low": interval.low, "high": interval.high, "confidence": interval.confidence}
