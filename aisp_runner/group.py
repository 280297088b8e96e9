"""A worker that is one rank of several: it joins its group before it loads any candidate code.

On a CPU the group is gloo's. On CUDA it is NCCL's, made at once and not by the first collective, on the one GPU that the rank
sees. Two collectives go through it here: what a communicator sets up at its first use it waits for on the host, and behind a
shut gate that would never end.
"""

from __future__ import annotations

import datetime
import os
from typing import Any

JOIN_SECONDS = 60.0
"""How long a rank waits for the others, and with gloo for each collective, s."""

NCCL_SECONDS = 86400.0
"""How long NCCL's watchdog lets a collective take, s. It counts the time for which a rank is frozen, and kills the process; the
judge has deadlines of its own.
"""

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}

NCCL_CHOICES = {
    "NCCL_IB_DISABLE": "1",
    "NCCL_NVLS_ENABLE": "0",
    "NCCL_GRAPH_REGISTER": "0",
    "NCCL_RAS_ENABLE": "0",
    "TORCH_NCCL_ENABLE_MONITORING": "0",
}
"""Where the environment says nothing else (docs/decisions/0018): ranks are on one machine; NVLink multicast belongs to all of
the machine, and workers are killed; the judge's memory cannot be exported a second time; who is frozen must not look hung.
"""


def join(job: dict[str, Any]) -> Any:
    """Makes this process rank `job["rank"]` of torch.distributed's default group, over the loopback interface, and gives the
    group.

    The ranks find one another by a file of their own. Raises RuntimeError where they do not.
    """
    import torch.distributed as dist

    os.environ.update(LOOPBACK)
    store = dist.FileStore(job["meeting"], job["ranks"])
    store.set_timeout(datetime.timedelta(seconds=JOIN_SECONDS))
    asked = {"store": store, "rank": job["rank"], "world_size": job["ranks"], **backend(job["device"], job["gpu"])}
    dist.init_process_group(**asked)
    if job["device"] == "cuda":
        _warm_up(job["gpu"])
    return dist.distributed_c10d._get_default_group()


def backend(device: str, gpu: int) -> dict[str, Any]:
    """What `init_process_group` is told of the device, in a process whose environment then suits it. gpu: its number, as this
    process counts them.
    """
    if device == "cpu":
        return {"backend": "gloo", "timeout": datetime.timedelta(seconds=JOIN_SECONDS)}
    import torch

    for name, value in NCCL_CHOICES.items():
        os.environ.setdefault(name, value)
    wait = datetime.timedelta(seconds=NCCL_SECONDS)
    return {"backend": "nccl", "timeout": wait, "device_id": torch.device("cuda", gpu)}


def _warm_up(gpu: int) -> None:
    """One reduction and one barrier, waited for by the host."""
    import torch
    import torch.distributed as dist

    dist.all_reduce(torch.ones(1, device=torch.device("cuda", gpu)))
    dist.barrier()
    torch.cuda.synchronize(gpu)
