"""A held-out case is one that the variant was not tuned on: no visible case of its workload and device has the same tensors.

Held-out sizes show whether a speed-up goes beyond the sizes it was tuned for. A held-out case whose tensors are those of a
visible case shows nothing of the kind, whatever its axes are called, and makes the plan itself invalid. A candidate from
outside the repository, on a workload without any held-out case, makes a gate INCONCLUSIVE. Blind spot: what a variant was
tuned on elsewhere; sizes that differ and are treated alike by every kernel.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.case import Case, Tensor
    from aisp_runner.execute import Bench


@dataclass(frozen=True)
class HeldOut(Protection):
    id = "workload.held_out"
    covers = ("workload.train_test_overlap", "evaluation.missing_holdout_sets")

    def judge_preflight(self, bench: Bench, case: Case) -> Evidence:
        limit = "other tensors than every visible case of the workload"
        if not case.held_out:
            return self._visible(bench, case, limit)
        visible = [c for c in bench.plan.cases if (c.workload, c.device, c.held_out) == (case.workload, case.device, False)]
        same = sorted({_axes(c) for c in visible if _tensors(c) == _tensors(case)})
        told = f"; the same tensors as visible {', '.join(same)}" if same else ""
        return self.found("preflight", not same, f"held out {_axes(case)}{told}", limit)

    def _visible(self, bench: Bench, case: Case, limit: str) -> Evidence:
        """Code from outside may have been tuned to every visible size: where no other is asked for, a gate cannot say yes."""
        asked = any(c.held_out for c in bench.plan.cases if (c.workload, c.device) == (case.workload, case.device))
        if asked or case.candidate is None:
            return self.found("preflight", True, "a visible case", limit)
        why = f"{case.workload} has no held-out case on {case.device}"
        if case.phase == "gate":
            return self.unavailable("preflight", f"{why}, and {case.candidate} comes from outside: declare one (held_out:)")
        return self.found("preflight", True, f"a visible case; {why}", limit)


def _tensors(case: Case) -> tuple[Tensor, ...]:
    """What a function can tell a case by. A tolerance is none of it."""
    return tuple(dataclasses.replace(t, rtol=0.0, atol=0.0, because="") for t in (*case.inputs, *case.outputs))


def _axes(case: Case) -> str:
    return ",".join(f"{axis}={size}" for axis, size in case.axes.items())
