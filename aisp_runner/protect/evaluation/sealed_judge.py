"""The judge's own files and the workload's reference are what they were when the plan was made.

Digests are taken before the case and again after it, once every worker has stopped. The judge process also refuses to be
attached to or read by other processes of the same user. Blind spot: a change that is undone in between; a root user, who can
do anything to any process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.case import Case
    from aisp_runner.execute import Bench
    from aisp_runner.judge import Judge

PACKAGE = Path(__file__).resolve().parents[2]


def package_digest() -> str:
    """One digest over every Python file of this package."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(file.relative_to(PACKAGE)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class SealedJudge(Protection):
    id = "evaluation.sealed_judge"
    covers = ("evaluation.eval_code_exploitation", "evaluation.self_modifying_tests")
    essential = True

    def judge_preflight(self, bench: Bench, case: Case) -> Evidence:
        return self._look("preflight", bench, case)

    def judge_conclude(self, judge: Judge) -> Evidence:
        """The copies that oracle and baseline were loaded from lie where a candidate of the same user can write."""
        odd = [f"{who}'s copy of {name} changed" for who in ("oracle", "baseline") for name in judge.staged[who].changed()]
        return self.found("conclude", not odd, "; ".join(odd) or "the staged copies are unchanged", "no change")

    def judge_seal(self, bench: Bench, case: Case) -> Evidence:
        return self._look("seal", bench, case)

    def _look(self, stage: str, bench: Bench, case: Case) -> Evidence:
        from aisp_runner.sources import changed

        odd = [f"{name} changed on disk" for v in (case.reference, case.baseline, case.optimized) for name in changed(v.source)]
        if package_digest() != bench.package_digest:
            odd.append("aisp_runner changed on disk")
        observed = "; ".join(sorted(set(odd))) or "judge and reference are unchanged"
        return self.found(stage, not odd, observed, "no change since the run began")
