"""A worker that is one rank of several: it joins its group before it loads any candidate code."""

from __future__ import annotations

import datetime
import os
from typing import Any

JOIN_SECONDS = 60.0
"""How long a rank waits for the others, and for each collective, s."""


def join(job: dict[str, Any]) -> Any:
    """Makes this process rank `job["rank"]` of torch.distributed's default group (gloo, over the loopback interface), and gives
    the group.

    The ranks find one another by a file of their own. Raises RuntimeError where they do not.
    """
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(job["meeting"], job["ranks"])
    wait = datetime.timedelta(seconds=JOIN_SECONDS)
    dist.init_process_group("gloo", store=store, rank=job["rank"], world_size=job["ranks"], timeout=wait)
    return dist.distributed_c10d._get_default_group()
