"""Nothing is compiled while the clock runs.

Compiling belongs to warm-up. An arm that compiles in a timed batch, because a guard fails, because its cache was thrown away or
because it began late, is timed with its compiler in it, and the other one without. Each worker counts after each batch what
torch._dynamo, torch.jit and Triton have compiled so far; the judge holds the counts of neighbouring batches against each other.
Modules that nobody loaded are not loaded for it. Blind spot: counted in the arm's own process; other compilers (a
subprocess, nvcc, ctypes); a call that runs the slow way instead of compiling.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Batch, Judge
    from aisp_runner.worker import Worker

_TRITON = {"kernels": 0}
"""In a worker: kernels that Triton has compiled since `_count_triton`."""


def compiled() -> dict[str, int]:
    """What each compiler that is loaded has compiled in this process so far."""
    found = {}
    dynamo, script = sys.modules.get("torch._dynamo.utils"), sys.modules.get("torch.jit._state")
    if dynamo is not None:
        found["dynamo"] = int(dynamo.counters["frames"]["total"])
    if script is not None:
        found["torch.jit"] = len(script._python_cu.get_functions())
    if "triton" in sys.modules:
        found["triton"] = _TRITON["kernels"]
    return found


def _count_triton() -> None:
    """Has Triton count, where it is loaded; whatever hook there is goes on being called."""
    triton: Any = sys.modules.get("triton")
    runtime = getattr(getattr(triton, "knobs", None), "runtime", None)
    if runtime is None or getattr(runtime.jit_post_compile_hook, "counts", False):
        return
    before = runtime.jit_post_compile_hook

    def counting(*given: Any, **named: Any) -> Any:
        _TRITON["kernels"] += 1
        return before(*given, **named) if before is not None else None

    counting.counts = True  # type: ignore[attr-defined]
    runtime.jit_post_compile_hook = counting


@dataclass(frozen=True)
class RecompileCounter(Protection):
    id = "compile.recompile_counter"
    covers = ("location.jit_compilation_timing", "compile.guard_failure_hidden")

    def worker_boot(self, worker: Worker) -> None:
        _count_triton()

    def worker_after_batch(self, worker: Worker) -> Evidence:
        _count_triton()
        counts = compiled()
        said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "no compiler is loaded"
        return self.found("after_batch", True, said, "compiled so far", worker.job["role"], witness="worker")

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        found = []
        for arm in judge.cast.roles:
            told = [b for b in judge.batches if b.arm == arm and self.id in b.told]
            moved = [now for before, now in _neighbours(told) if now.timed and now.told[self.id] != before.told[self.id]]
            timed = sum(b.timed for b in told)
            said = f"something was compiled in {len(moved)} of {timed} timed batches"
            said += f" ({_first_change(told, moved[0], self.id)})" if moved else ""
            if timed:
                found.append(self.found("conclude", not moved, said, "0 batches: compile in warm-up", arm, witness="worker"))
        return found


def _neighbours(told: list[Batch]) -> list[tuple[Batch, Batch]]:
    """Each batch with the one before it in the same process."""
    found, last = [], dict[int, Any]()
    for batch in told:
        if batch.process in last:
            found.append((last[batch.process], batch))
        last[batch.process] = batch
    return found


def _first_change(told: list[Batch], first: Batch, protection: str) -> str:
    before = next(old for old, now in _neighbours(told) if now is first)
    return f"{before.told[protection]}, then {first.told[protection]}"
