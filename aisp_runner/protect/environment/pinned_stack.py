"""Both arms ran on the same software and the same device, and on those that the workload demands.

At the end the judge reads which files each arm has mapped as shared libraries, and which GPUs it has open. A candidate that
loads another copy of a library that the baseline runs on (torch, cuDNN, libm) is refused; a library of its own is not. What
`environment.require` demands is held against the machine's facts: a machine that is another one is `unavailable`. Blind spot:
a library that is unloaded before the end, or linked into the candidate's own; the code of a library changed in memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.case import Case
    from aisp_runner.execute import Bench
    from aisp_runner.judge import Judge

DURING_ROUNDS = ("clock_mhz", "power_limit_w")
"""Demands on what is read during the rounds; `environment.steady_machine` looks at them."""


@dataclass(frozen=True)
class PinnedStack(Protection):
    id = "environment.pinned_stack"
    covers = (
        "environment.driver_version_mismatch",
        "environment.library_version_mismatch",
        "environment.device_mismatch",
        "environment.cpu_governor_mismatch",
    )

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        from aisp_runner.host import gpu_files, libraries

        folder = str(judge.staged["baseline"].folder)
        odd, gpus, shared = set[str](), set[str](), 0
        for arms in judge.cast.sets:
            given = set().union(*map(gpu_files, arms["baseline"].pids))  # a rank may reach another one's memory
            for baseline, candidate in zip(arms["baseline"].pids, arms["candidate"].pids, strict=True):
                stack = {n: files for n, files in libraries(baseline).items() if not any(f.startswith(folder) for f in files)}
                mine = libraries(candidate)
                odd |= {file for name, files in mine.items() if name in stack for file in files - stack[name]}
                gpus |= gpu_files(candidate) - given
                shared = len(stack.keys() & mine.keys())
        names = sorted({file.removesuffix(" (deleted)").rpartition("/")[2] for file in odd})
        observed = (
            f"the candidate loaded its own copy of {', '.join(names)[:200]}" if odd else f"{shared} libraries are the same"
        )
        software = self.found("conclude", not odd, observed, "the files that the baseline runs on", "candidate")
        observed = f"the candidate has {', '.join(sorted(gpus))} open" if gpus else "no other GPU is open"
        return [self.found("conclude", not gpus, observed, "the baseline's GPUs", "candidate"), software]

    def judge_seal(self, bench: Bench, case: Case) -> list[Evidence]:
        facts = bench.pool.facts.get(case.device)
        if not case.demands or facts is None:  # without facts no process was started, and the fault says why
            return []
        others = [{**facts, "gpu": gpu} for gpu in facts.get("other_gpus", [])[: case.ranks - 1]]
        told = [unmet(name, wanted, each) for each in (facts, *others) for name, wanted in case.demands.items()]
        wrong = [why for why in dict.fromkeys(told) if why]
        if wrong:
            return [self.unavailable("seal", why) for why in wrong]
        asked = ", ".join(f"{name} {wanted}" for name, wanted in case.demands.items())
        return [self.found("seal", True, f"the machine is as demanded: {asked}", "environment.require")]


def unmet(name: str, wanted: Any, facts: Mapping[str, Any]) -> str:
    """Why a demand of `environment.require` is not met by these facts of the machine, or "".

    A text is met by what begins with it, whole words and version parts only: 2.1 is met by 2.1.3 and not by 2.11.
    """
    if name in DURING_ROUNDS:
        return ""
    gpu = facts.get("gpu") or {}
    found = gpu.get("name") if name == "gpu" else facts.get(name, gpu.get(name))
    if found is not None and re.match(re.escape(str(wanted)) + r"(?![0-9A-Za-z])", str(found)):
        return ""
    return (
        f"{name} is {'not known' if found is None else repr(found)}, and the workload demands {wanted!r} (environment.require)"
    )
