"""No garbage collection runs in a timed batch.

The worker collects before each batch and then switches the collector off, for every arm alike. An arm that switches it on
again, or collects by itself, is timed with work that is not its operation's: a baseline that does is slow for no reason of its
own. Looked at where host time counts (mode wall), in batches whose slots are all known: compiling and capturing collect too, at
the first calls. Blind spot: seen in the arm's own process, where native code can hide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.worker import Worker

_SEEN: dict[str, int] = {}
"""In a worker: slots, as they were after the batch before, and batches in which a collection ran."""


@dataclass(frozen=True)
class QuietInterpreter(Protection):
    id = "statistical.quiet_interpreter"
    covers = ("statistical.gc_interference",)

    batches: int = 2
    """Batches in which a collection may run: torch.compile records its graphs at the second call, and collects."""

    def worker_boot(self, worker: Worker) -> None:
        _SEEN.update(slots=0, batches=0)

    def worker_after_batch(self, worker: Worker) -> Evidence:
        known, _SEEN["slots"] = _SEEN["slots"], len(worker.arguments)
        if worker.collected and known == len(worker.arguments):
            _SEEN["batches"] += 1
        ran = _SEEN["batches"]
        observed = f"garbage was collected in {ran} batches, {worker.collected} times in the last one"
        return self.found("after_batch", ran <= self.batches, observed, f"at most {self.batches} batches", witness="worker")
