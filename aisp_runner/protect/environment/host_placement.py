"""Every arm runs as the judge placed it: with its preference, under its scheduling policy, on its cores, on its memory nodes.

The judge asks the kernel about each thread of the candidate after each timed batch, and about all arms at the end. It gives
nobody more than another, so a thread that is more urgent, or runs on cores that were not given, was moved by the candidate.
Blind spot: a change that is taken back within the call; memory that was placed and freed before the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.host import Placement
    from aisp_runner.judge import Batch, Judge

LAZY = ("SCHED_BATCH", "SCHED_IDLE")


@dataclass(frozen=True)
class HostPlacement(Protection):
    id = "environment.host_placement"
    covers = ("environment.priority_elevation", "environment.numa_inconsistency", "environment.container_resource_limits")

    apart: float = 0.5
    """On a CPU: how far the arms' shares of memory on one NUMA node may differ."""

    def judge_after_batch(self, judge: Judge, batch: Batch) -> Evidence | None:
        if batch.arm != "candidate" or not batch.timed:
            return None
        return self._scheduled("after_batch", judge, judge.arms["candidate"].pids)

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        candidates = [pid for arms in judge.cast.sets for pid in arms["candidate"].pids]
        return [self._scheduled("conclude", judge, candidates), self._others(judge), self._memory(judge)]

    def _scheduled(self, stage: str, judge: Judge, pids: Iterable[int]) -> Evidence:
        from aisp_runner.host import given_placement, placements

        given = given_placement(judge)
        seen = {placement for pid in pids for placement in placements(pid)}
        odd = sorted({what for placement in seen for what in beyond(placement, given)})
        observed = (
            "a thread of the candidate has " + " and ".join(odd) if odd else f"threads placed as given: {len(seen)} kinds"
        )
        return self.found(stage, not odd, observed, told(given), "candidate")

    def _others(self, judge: Judge) -> Evidence:
        """A baseline that was set back is as good to a candidate as an advantage of its own."""
        from aisp_runner.host import given_placement, placements

        given = given_placement(judge)
        trusted = [pid for arms in judge.cast.sets for role, arm in arms.items() if role != "candidate" for pid in arm.pids]
        seen = {placement for pid in trusted for placement in placements(pid)}
        odd = sorted({f"nice {p.nice}, {p.policy}" for p in seen if p.nice > given.nice or p.policy in LAZY})
        observed = f"a thread of the baseline has {'; '.join(odd)}" if odd else "the baseline's threads are as urgent as given"
        return self.found("conclude", not odd, observed, told(given))

    def _memory(self, judge: Judge) -> Evidence:
        from aisp_runner.host import pages

        ranks = [pair for arms in judge.cast.sets for pair in zip(arms["baseline"].pids, arms["candidate"].pids, strict=True)]
        pairs = [(pages(baseline), pages(candidate)) for baseline, candidate in ranks]
        known = [(baseline, candidate) for baseline, candidate in pairs if baseline and candidate]
        if not known:
            return self.found("conclude", True, "the kernel tells no memory policy", "the baseline's", "candidate")
        own = sorted({policy for baseline, candidate in known for policy in candidate.policies - baseline.policies})
        if own:
            observed = f"memory of the candidate has the policy {', '.join(own)}, which none of the baseline's has"
            return self.found("conclude", False, observed, "the baseline's policies", "candidate")
        widest = max(_apart(baseline.anonymous, candidate.anonymous) for baseline, candidate in known)
        if judge.device.name == "cpu" and widest > self.apart:
            return self.unavailable(
                "conclude", f"the arms' memory lies on different NUMA nodes: their shares differ by {widest:.0%}"
            )
        return self.found("conclude", True, f"the same memory policies; shares by node differ by {widest:.0%}", "", "candidate")


def beyond(placement: Placement, given: Placement) -> list[str]:
    """What a thread has that it was not given."""
    found = []
    if placement.nice < given.nice:
        found.append(f"nice {placement.nice}")
    if placement.policy != given.policy and placement.policy not in LAZY:
        found.append(placement.policy)
    if placement.cores - given.cores:
        found.append(f"cores {_list(placement.cores)}")
    return found


def told(given: Placement) -> str:
    """What the judge gave, in words."""
    return f"nice {given.nice}, {given.policy}, cores {_list(given.cores)}"


def _list(cores: Iterable[int]) -> str:
    return ",".join(map(str, sorted(cores)))


def _apart(one: dict[int, int], other: dict[int, int]) -> float:
    """The largest difference between the shares of pages that two processes have on a node."""
    totals = max(1, sum(one.values())), max(1, sum(other.values()))
    return max((abs(one.get(n, 0) / totals[0] - other.get(n, 0) / totals[1]) for n in {*one, *other}), default=0.0)
