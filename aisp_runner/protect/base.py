"""What a protection is: a frozen dataclass with hooks, that gives evidence.

A hook is a method named `judge_<stage>` or `worker_<stage>`. Judge hooks take `(self, judge)` or `(self, judge, batch)` and
give Evidence, a list of it, or None; they run outside the timed window and never raise to signal a finding. Worker hooks run
in the candidate's own process, so what they see is advisory above trust level 1. Knobs are the dataclass's fields:
`protect.knobs.memory.late_writes.settle_ms=5` needs no other code.

| stage        | side   | when |
|--------------|--------|------|
| preflight    | judge  | before any worker of the case is started |
| boot         | worker | before candidate code is loaded |
| calibrate    | judge  | the oracle has answered once, no candidate has run |
| draw         | judge  | new content is due |
| before_batch | judge  | before a worker is told to arm |
| armed        | judge  | the calls wait behind a shut gate (CUDA), the content is not revealed |
| at_done      | judge  | first thing after DONE |
| after_batch  | both   | the snapshot is taken; the worker is idle |
| verify       | judge  | the oracle's answers are there |
| conclude     | judge  | all batches are in |
| seal         | judge  | every worker of the case has stopped |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

JUDGE_STAGES = (
    "preflight",
    "calibrate",
    "draw",
    "before_batch",
    "armed",
    "at_done",
    "after_batch",
    "verify",
    "conclude",
    "seal",
)
WORKER_STAGES = ("boot", "after_batch")

PASS, FAIL, UNAVAILABLE, ERROR = "pass", "fail", "unavailable", "error"


@dataclass(frozen=True)
class Evidence:
    """What one protection saw at one stage, on a pass as well as on a failure."""

    protection: str
    stage: str
    witness: str
    """judge or worker."""
    status: str
    """pass, fail, unavailable (it could not do its work here) or error (it raised)."""
    observed: str
    limit: str
    arm: str = ""
    """baseline, candidate or "" where it is about the case."""
    count: int = 1
    """Times the same was seen."""


@dataclass(frozen=True)
class Protection:
    """Base of all protections."""

    id: ClassVar[str] = ""
    covers: ClassVar[tuple[str, ...]] = ()
    """Ids of validity issues (issues.yaml) this is a protection against."""
    essential: ClassVar[bool] = False
    """True: cannot be disabled by itself."""
    needs: ClassVar[str] = "any"
    """any or cuda: the device of the cases in which it has something to look at."""

    def found(self, stage: str, ok: bool, observed: str, limit: str, arm: str = "", witness: str = "judge") -> Evidence:
        """Evidence of a pass (ok) or a failure."""
        return Evidence(self.id, stage, witness, PASS if ok else FAIL, observed, limit, arm)

    def unavailable(self, stage: str, why: str, witness: str = "judge") -> Evidence:
        """Evidence that this protection could not do its work, and why."""
        return Evidence(self.id, stage, witness, UNAVAILABLE, why, "")


def merge(evidence: list[Evidence]) -> list[Evidence]:
    """One line for each distinct finding, with a count. Passes of a protection, stage and arm fall together; the last one is
    shown.
    """
    merged: dict[tuple[Any, ...], Evidence] = {}
    for e in evidence:
        key = (e.protection, e.stage, e.witness, e.status, e.arm, "" if e.status == PASS else e.observed)
        before = merged.get(key)
        count = e.count + (before.count if before else 0)
        merged[key] = Evidence(e.protection, e.stage, e.witness, e.status, e.observed, e.limit, e.arm, count)
    return list(merged.values())
