"""The ranks still form the group that was declared: every one of them, each in its place.

After each batch a rank looks whether torch.distributed's default group is the one that it joined before it loaded the
variant. Ranks that leave it can claim a size that does not take part. Blind spot: seen by the worker, so native code could
hide it; groups made beside the default one are free to be of any size, and what they leave out shows in the outputs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.worker import Worker


@dataclass(frozen=True)
class TopologyMatch(Protection):
    id = "distributed.topology_match"
    covers = ("distributed.topology_mismatch",)

    def worker_after_batch(self, worker: Worker) -> Evidence | None:
        rank, ranks = worker.job["rank"], worker.job["ranks"]
        if rank is None:
            return None
        dist = sys.modules["torch.distributed"]
        there = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else None
        group = dist.distributed_c10d._get_default_group() if there else None
        seen = f"rank {there[0]} of {there[1]}" if there else "no group"
        if there == (rank, ranks) and group is not worker.group:
            seen += ", in another group than it joined"
        return self.found("after_batch", seen == f"rank {rank} of {ranks}", seen, f"rank {rank} of {ranks}", witness="worker")
