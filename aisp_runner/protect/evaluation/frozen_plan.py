"""What is judged is the plan that was written down, and it stays that way.

The plan's digest is in plan.json and in every record. A plan file that does not match its digest is refused before anything
runs; the file is read again before and after every case, and so is the case in memory: its limits and tolerances are in use
while it runs. Blind spot: a plan edited and hashed anew before the run; compare `plan_sha256` with the one that was
reviewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.case import Case
    from aisp_runner.execute import Bench


@dataclass(frozen=True)
class FrozenPlan(Protection):
    id = "evaluation.frozen_plan"
    covers = ("evaluation.timeout_manipulation", "evaluation.metric_definition_gaming", "evaluation.self_modifying_tests")
    essential = True

    def judge_preflight(self, bench: Bench, case: Case) -> Evidence:
        return self._look("preflight", bench, case)

    def judge_seal(self, bench: Bench, case: Case) -> Evidence:
        return self._look("seal", bench, case)

    def _look(self, stage: str, bench: Bench, case: Case) -> Evidence:
        odd = bench.plan_changed()
        if bench.case_changed(case):
            odd = "; ".join(filter(None, (odd, "the case in memory is not the one that was written down")))
        return self.found(stage, not odd, odd or "plan.json is the plan that is run", "no change since the run began")
