"""What the host lets the run have was enough, and the same for both arms: CPU quota, memory, time of the hypervisor.

A quota that set the run back, time that the hypervisor kept and memory that has run out are the machine's: `unavailable`. An
arm in another control group, or that was promised more memory than it may hold, is the candidate's doing. That there is a
quota or a hypervisor is recorded and no finding, unless `bare_metal` is 1 (environment=bare_metal). Blind spot: memory behind
shared mappings and device drivers; a quota or hypervisor that sets back one arm for less than the shares below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.case import Case
    from aisp_runner.execute import Bench
    from aisp_runner.judge import Judge

GIB = 1 << 30


@dataclass(frozen=True)
class HostLimits(Protection):
    id = "environment.host_limits"
    covers = (
        "environment.container_resource_limits",
        "environment.virtualization_overhead",
        "environment.memory_overcommit",
    )

    throttled: float = 0.02
    """Share of the rounds' time for which the CPU quota may keep the run from running."""
    stolen: float = 0.1
    """Share of the rounds' time that the hypervisor may keep from the run's cores."""
    spare: float = 0.02
    """Share of the host's memory that is still to be had at the end."""
    bare_metal: float = 0.0
    """1: a virtual machine, or a CPU quota below threads + 1 cores, is a finding even where nothing was lost to it."""

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        return [*self._lost(judge), self._groups(judge), self._promised(judge)]

    def judge_seal(self, bench: Bench, case: Case) -> list[Evidence]:
        facts = bench.pool.facts.get(case.device)
        if facts is None:
            return []
        quota, virtual = facts.get("cpu_quota_cores"), facts.get("hypervisor")
        held = quota is not None and quota < case.threads + 1
        observed = f"hypervisor: {virtual}; CPU quota: {'none' if quota is None else f'{quota:g} cores'}"
        if self.bare_metal and (held or virtual):
            return [self.unavailable("seal", f"{observed}, and environment=bare_metal demands a machine without")]
        return [self.found("seal", True, observed, f"{case.threads + 1} cores" if self.bare_metal else "")]

    def _lost(self, judge: Judge) -> list[Evidence]:
        timed = [b for b in judge.batches if b.timed or b.purpose == "dropped"]
        passed_ms = (max(b.done_ns for b in timed) - min(b.issued_ns for b in timed)) / 1e6 if timed else 0.0
        found, shares = [], []
        for key, limit, who in (
            ("throttled_ms", self.throttled, "the CPU quota of the control group"),
            ("steal_ms", self.stolen, "the hypervisor"),
        ):
            lost = [ms for r in judge.readings if (ms := getattr(r, key, None)) is not None]
            share = sum(lost) / passed_ms if passed_ms else 0.0
            shares.append(f"{who} took {sum(lost):.0f} ms" if lost else f"{who}: not known")
            if share > limit:
                found.append(
                    f"{who} kept {sum(lost):.0f} ms of {passed_ms:.0f} ms from the run ({share:.0%}, limit {limit:.0%})"
                )
        if (short := self._short()) is not None:
            found.append(short)
        if found:
            return [self.unavailable("conclude", why) for why in found]
        return [self.found("conclude", True, "; ".join(shares), f"{self.throttled:.0%} and {self.stolen:.0%} of the rounds")]

    def _short(self) -> str | None:
        from aisp_runner.host import memory_available

        memory = memory_available()
        if memory is None or memory[0] >= self.spare * memory[1]:
            return None
        left, whole = (amount / GIB for amount in memory)
        return f"{left:.2f} of {whole:.1f} GiB of the host's memory are left: other programs run, or the case is too large"

    def _groups(self, judge: Judge) -> Evidence:
        from aisp_runner.host import group

        odd = any(
            group(pid) not in ("", group(arms["baseline"].pids[0]))
            for arms in judge.cast.sets
            for pid in arms["candidate"].pids
        )
        observed = "the candidate is in another control group than the baseline" if odd else "all arms are in one control group"
        return self.found("conclude", not odd, observed, "the baseline's", "candidate")

    def _promised(self, judge: Judge) -> Evidence:
        from aisp_runner.host import promised_bytes

        pairs = [
            (promised_bytes(arms["baseline"].pids[0]), promised_bytes(pid))
            for arms in judge.cast.sets
            for pid in arms["candidate"].pids
        ]
        more = max((own - usual for usual, own in pairs if usual is not None and own is not None), default=0) / GIB
        limit = judge.case.limits.memory_gib
        observed = f"the candidate has been promised {max(0.0, more):.2f} GiB of memory more than the baseline"
        return self.found("conclude", more <= limit, observed, f"{limit:g} GiB, limits.memory_gib", "candidate")
