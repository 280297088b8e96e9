"""What a rank tells torch.distributed of itself, without a second rank."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aisp_runner.content import content_root
from aisp_runner.group import JOIN_SECONDS, NCCL_CHOICES, NCCL_SECONDS, backend

DAY = datetime.timedelta(days=1)


def test_a_cpu_has_gloo_and_every_gpu_nccl_bound_to_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend("cpu", 0) == {"backend": "gloo", "timeout": datetime.timedelta(seconds=JOIN_SECONDS)}
    for name in NCCL_CHOICES:
        monkeypatch.delenv(name, raising=False)
    told = backend("cuda", 1)
    assert told == {"backend": "nccl", "timeout": DAY, "device_id": torch.device("cuda", 1)} and NCCL_SECONDS == 86400.0
    assert {name: os.environ.pop(name) for name in NCCL_CHOICES} == NCCL_CHOICES


def test_what_the_environment_says_of_nccl_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NCCL_CHOICES:
        monkeypatch.setenv(name, "mine")
    backend("cuda", 0)
    assert {os.environ[name] for name in NCCL_CHOICES} == {"mine"}


JOIN = """
import os, sys
import torch
import torch.distributed as dist
from aisp_runner.group import join

job = {"device": "cpu", "gpu": 0, "rank": int(sys.argv[1]), "ranks": 2, "meeting": sys.argv[2]}
group = join(job)
total = torch.full((3,), float(job["rank"] + 1))
dist.all_reduce(total)
sys.stdout.write(f"{dist.get_backend(group)} {dist.get_rank()} of {dist.get_world_size()} {total.tolist()} ")
sys.stdout.write(os.environ["NCCL_SOCKET_IFNAME"])
dist.barrier()
"""


def test_two_ranks_meet_by_a_file(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    command = [sys.executable, "-c", JOIN]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting")], env=environment, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    assert [rank.communicate(timeout=60)[0] for rank in ranks] == [f"gloo {rank} of 2 [3.0, 3.0, 3.0] lo" for rank in range(2)]
