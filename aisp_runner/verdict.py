"""From evidence and times to a verdict; the only place a status, an outcome or an exit code is decided.

May it be believed? VALID, INVALID (a protection refused it), INCONCLUSIVE (a protection could not do its work), ERROR (it did
not run to its end). Is it faster? FASTER, SAME, SLOWER or UNDECIDED, asked of VALID only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aisp_runner.errors import AispError, EngineFault, WorkerFault
from aisp_runner.protect.base import ERROR, FAIL, UNAVAILABLE, Evidence
from aisp_runner.statistics import Estimate, Interval

PASSED, INTERNAL, USAGE, FAILED, UNCERTAIN, NOTHING = 0, 1, 2, 3, 4, 5
"""Exit codes."""

TELLING = (
    "evaluation.frozen_plan",
    "evaluation.sealed_judge",
    "output.vacuous_tolerance",
    "timing.trusted_sync",
    "timing.no_profiler",
    "compile.mode_parity",
    "compile.recompile_counter",
    "memory.late_writes",
    "timing.drain_bound",
    "timing.wall_clock_bound",
    "timing.clock_agreement",
    "timing.roofline_floor",
    "output.fresh_inputs",
    "output.output_signature",
    "output.poisoned_outputs",
    "output.finite_values",
)
"""Protections whose finding explains the others', most telling first; the rest follow in the order of their ids."""

ABOUT_TIMING = (
    "compile.same_choice",
    "environment.host_limits",
    "environment.quiet_machine",
    "environment.steady_machine",
    "memory.no_swapping",
    "statistical.enough_rounds",
    "timing.calibrated_batch",
)
"""Protections that tell, at the end of the rounds, how far the times can be trusted. Where a gate requires no outcome (require:
valid) they say so and stop nothing: a noisy machine must not turn a gate of correctness red.
"""

BUSY = "environment.quiet_machine"
"""Says that others kept the machine busy."""


@dataclass(frozen=True)
class Verdict:
    """status: VALID, INVALID, INCONCLUSIVE or ERROR. reasons: protection ids (or worker.<kind>, engine.<kind>), most telling
    first.
    """

    status: str
    reasons: tuple[str, ...] = ()
    message: str = ""


def decide(
    evidence: Sequence[Evidence], fault: AispError | None, phase: str, times: Estimate | None, require: str = "valid"
) -> Verdict:
    """What the evidence amounts to. A finding against a candidate outweighs the fault it ended with; silence is never a pass.

    times: what the clock says, None where nothing was timed. require: what a gate demands of the outcome.
    """
    failed = _by_reason(evidence, FAIL)
    if failed:
        first = next(iter(failed.values()))
        side = "the baseline, not the candidate: " if all(e.arm == "baseline" for e in failed.values()) else ""
        limit = f" (limit: {first.limit})" if first.limit else ""
        return Verdict("INVALID", tuple(failed), f"{side}{first.observed}{limit}")
    if fault is not None:
        return Verdict("ERROR", (_kind(fault),), str(fault))
    broken = _by_reason(evidence, ERROR)
    if broken:
        reason, first = next(iter(broken.items()))
        return Verdict("ERROR", tuple(broken), f"protection {reason} itself failed: {first.observed}")
    noise = [e for e in evidence if e.protection in ABOUT_TIMING and e.stage == "conclude"]
    unable = _by_reason([e for e in evidence if require != "valid" or e not in noise], UNAVAILABLE)
    if unable and phase == "gate":
        return Verdict("INCONCLUSIVE", tuple(unable), next(iter(unable.values())).observed)
    if times is None or times.speedup is None:
        why = _by_reason([e for e in noise if e.protection == BUSY], UNAVAILABLE)  # the calls may well be long enough then
        message = "a call takes no longer than the clock can tell: measure longer batches (measure.calls, measure.batch_ms)"
        told = [e.observed for e in why.values()]
        return Verdict("INCONCLUSIVE", (*why, "timing.resolution"), told[0] if told else message)
    return Verdict("VALID")


def _kind(fault: AispError) -> str:
    """The reason that a fault is."""
    if isinstance(fault, WorkerFault):
        return f"worker.{fault.kind}"
    return f"engine.{fault.kind}" if isinstance(fault, EngineFault) else type(fault).__name__


def _by_reason(evidence: Sequence[Evidence], status: str) -> dict[str, Evidence]:
    rank = {name: i for i, name in enumerate(TELLING)}
    found = sorted((e for e in evidence if e.status == status), key=lambda e: (rank.get(e.protection, len(rank)), e.protection))
    reasons: dict[str, Evidence] = {}
    for e in found:
        if e.protection not in reasons or (reasons[e.protection].arm == "baseline" and e.arm == "candidate"):
            reasons[e.protection] = e
    return reasons


def outcome(speedup: Interval | None, margin: float, floor: float = 0.0) -> str:
    """FASTER, SLOWER or SAME where the whole interval says so against 1 +- margin; UNDECIDED otherwise.

    floor: the noise floor that the A/A control found, as a fraction. Where it is over half the margin, twice the floor takes
    the margin's place: a difference that the machine shows between two equal arms decides nothing, and SAME cannot be told.
    """
    if speedup is None:
        return "UNDECIDED"
    noisy = floor > margin / 2
    wide = 2 * floor if noisy else margin
    if speedup.low > 1 + wide:
        return "FASTER"
    if speedup.high < 1 - wide:
        return "SLOWER"
    if not noisy and speedup.low >= 1 - margin and speedup.high <= 1 + margin:
        return "SAME"
    return "UNDECIDED"


def exit_code(records: Sequence[dict[str, Any]]) -> int:
    """What the process ends with. Only phase gate fails; what a gate demands of the outcome is `require`."""
    if not records:
        return NOTHING
    codes = {_gate(r) for r in records if r["phase"] == "gate"}
    return FAILED if FAILED in codes else UNCERTAIN if UNCERTAIN in codes else PASSED


def _gate(record: dict[str, Any]) -> int:
    if record["status"] in ("INVALID", "ERROR"):
        return FAILED
    if record["status"] == "INCONCLUSIVE":
        return UNCERTAIN
    allowed = {"valid": None, "not_slower": ("FASTER", "SAME"), "faster": ("FASTER",)}[record["require"]]
    if allowed is None or record["outcome"] in allowed:
        return PASSED
    return UNCERTAIN if record["outcome"] == "UNDECIDED" else FAILED
