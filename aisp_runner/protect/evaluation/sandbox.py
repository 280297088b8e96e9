"""Workers cannot write outside their folders, nor reach other processes or the network.

Before a worker loads the variant it confines itself by Landlock and seccomp, and tells the fork server what was applied
(docs/sandbox.md). What a kernel or a device does not allow is told in the evidence, and is no refusal unless `required` is set:
a gate is then INCONCLUSIVE. Blind spot: reading files is not restricted, what is confined shares the kernel with the judge, and
workers on a GPU are not confined by default, since that was not measured there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class Sandbox(Protection):
    id = "evaluation.sandbox"
    covers = (
        "evaluation.self_modifying_tests",
        "evaluation.metric_definition_gaming",
        "evaluation.eval_code_exploitation",
        "evaluation.test_data_leakage",
    )

    required: float = 0
    """1: a worker that is not wholly confined makes a gate INCONCLUSIVE."""

    def judge_conclude(self, judge: Judge) -> Evidence:
        reports = [judge.cast.server.sandboxed.get(pid, {}) for arm in judge.cast.all() for pid in arm.pids]
        missing = {part: why for report in reports for part, why in report.get("missing", {"all": "nothing was told"}).items()}
        lost = "; ".join(f"{part}: {why}" for part, why in sorted(missing.items()))
        if missing and self.required:
            return self.unavailable("conclude", f"a worker is not wholly confined: {lost}")
        said = f"confined but for {lost}" if missing else "every worker is confined: files, other processes, network"
        return self.found("conclude", True, said, "all that this machine offers")
