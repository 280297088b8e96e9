"""Outputs have the declared dtype and shape, and stay the judge's own memory.

A variant that writes cannot change them: the judge owns the buffers, and the worker notes a tensor that was resized or
rebound. A variant that returns is looked at before its result is copied, since the copy would cast and broadcast it silently.
Blind spot: seen by the worker, so native code could hide it; the values are still compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.worker import Worker


@dataclass(frozen=True)
class OutputSignature(Protection):
    id = "output.output_signature"
    covers = (
        "output.shape_mismatch",
        "output.dtype_mismatch",
        "workload.batch_shrinking",
        "location.lazy_evaluation_skip",
        "memory.input_output_aliasing",
    )

    def worker_after_batch(self, worker: Worker) -> Evidence:
        odd = sorted(worker.signature)
        return self.found(
            "after_batch", not odd, "; ".join(odd) or "as declared", "dtype and shape as declared", witness="worker"
        )
