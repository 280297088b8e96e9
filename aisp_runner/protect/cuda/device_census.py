"""No GPU takes part that the case does not name.

The judge asks NVML before a candidate has run, and when all batches are in, which processes are on the other GPUs of
the machine and how much memory is taken there. One that is the candidate's, or that the candidate has started, is a refusal.
Where NVML does not tell processes, as in a container, more memory than before makes a gate INCONCLUSIVE, since it could be
anybody's; but not on a GPU on which another lane of this run measures. Blind spot: a process that is on another GPU only in
between, a GPU that NVML does not list, and another lane's where NVML tells no processes: there the sandbox alone keeps it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.gpu_use import GpuUse
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class DeviceCensus(Protection):
    id = "cuda.device_census"
    covers = ("cuda.undeclared_multi_gpu", "environment.device_mismatch")
    needs = "cuda"

    more_mib: float = 64.0
    """Memory that may be taken on another GPU by nobody knows whom, MiB. A CUDA context takes several hundred."""

    def judge_calibrate(self, judge: Judge) -> Evidence | None:
        judge.gpus_before, why = _read(judge)
        return self.unavailable("calibrate", why) if why else None

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        now, why = _read(judge)
        if why:
            return self.unavailable("conclude", why)
        own = _of_candidate(judge)
        there = {gpu: sorted(use.pids & own) for gpu, use in now.items() if use.pids & own}
        if there:
            listed = "; ".join(f"GPU {gpu}: process {', '.join(map(str, pids))}" for gpu, pids in there.items())
            return self.found("conclude", False, f"the candidate is on GPUs that the case does not name: {listed}", "none")
        grown = {gpu: use.used_mib - judge.gpus_before[gpu].used_mib for gpu, use in now.items() if gpu in judge.gpus_before}
        silent = {gpu: mib for gpu, mib in grown.items() if mib > self.more_mib and not now[gpu].pids and not now[gpu].beside}
        if silent:
            listed = "; ".join(f"GPU {gpu}: {mib:.0f} MiB" for gpu, mib in silent.items())
            more = f"memory was taken on GPUs that the case does not name, and NVML does not tell by whom: {listed}"
            return self.unavailable("conclude", f"{more}. Hide them (CUDA_VISIBLE_DEVICES), or run where nobody else works")
        return self.found("conclude", True, f"nothing of the candidate's on {len(now)} other GPUs", "none")


def _read(judge: Judge) -> tuple[dict[int, GpuUse], str]:
    from aisp_runner.gpu_use import other_gpus

    return other_gpus(judge.case.ranks)


def _of_candidate(judge: Judge) -> set[int]:
    """The candidate's processes, what they have started, and orphans, which the fork server inherits."""
    from aisp_runner.host import children, descendants

    own = {pid for arms in judge.cast.sets if "candidate" in arms for pid in arms["candidate"].pids}
    orphans = children(judge.cast.server.process.pid) - judge.cast.pids()
    return own | orphans | {pid for parent in own | orphans for pid in descendants(parent)}
