"""What all cases of a run share, and that it is closed with the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, case, lives, opened
from peak.made import gpu_peak

from aisp_runner import machine, pool
from aisp_runner.content import content_root
from aisp_runner.forkserver import ForkServer
from aisp_runner.peak import roofline
from aisp_runner.pool import Pool
from aisp_runner.state import CpuState

pytest_plugins = ("shared_server",)


class Closes:
    """Something that is opened and closed."""

    def __init__(self, name: str, closed: list[str], alive: bool = True) -> None:
        self.name, self.closed, self.up = name, closed, alive

    def alive(self) -> bool:
        return self.up

    def close(self) -> None:
        self.closed.append(self.name)

    dismiss = close


def test_importing_it_does_not_wait_for_torch() -> None:
    code = "import sys, aisp_runner.pool; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_each_thing_is_started_once_and_a_dead_server_again(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[Closes] = []

    def start(cuda: bool) -> Closes:
        servers.append(Closes(f"cuda={cuda}", []))
        return servers[-1]

    monkeypatch.setattr(pool, "ForkServer", start)
    monkeypatch.setattr(machine, "facts", lambda name: {"asked": name})
    made = Pool()
    made.start_server("cpu")
    server, device = made.open("cpu")
    assert [s.name for s in servers] == ["cuda=False"] and device.name == "cpu"
    assert made.open("cpu") == (server, device) and made.facts == {"cpu": {"asked": "cpu"}}
    assert made.crew("cpu") is made.crew("cpu") is not made.crew("cuda")
    server.up = False
    again, same = made.open("cpu")
    assert again is servers[1] is not server and same is device


def test_the_state_counts_the_processes_of_the_case_that_runs_as_this_runs_own() -> None:
    with Pool() as made:
        state = made.state("cpu")
        assert isinstance(state, CpuState) and made.state("cpu") is state
        made.own_pids = lambda: {os.getppid()}
        assert state._pids() == {os.getpid(), os.getppid()}


def test_all_is_closed_at_the_end_crews_before_their_servers_whatever_one_of_them_raises() -> None:
    closed: list[str] = []
    with pytest.raises(RuntimeError, match="stop"), Pool() as made:
        made.servers = {"cpu": Closes("server", closed)}
        made.states = {"cpu": Closes("state", closed)}
        made.crews = {"cpu": Closes("crew", closed)}
        raise RuntimeError("stop")
    assert sorted(closed) == ["crew", "server", "state"] and closed[0] == "crew"


def test_a_crew_ends_with_the_pool(server: ForkServer, tmp_path: Path) -> None:
    with Pool() as made:
        with opened(server, tmp_path, HONEST, crew=made.crew("cpu"), n=64) as judge:
            pass
        assert lives(judge.oracle.pid)
    assert not lives(judge.oracle.pid)


@pytest.mark.parametrize("known", [True, False], ids=["measured", "never measured"])
def test_ceilings_are_read_once_and_give_shares_and_floors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    peak = gpu_peak()
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(pool.store, "load", lambda name, facts: asked.append((name, facts)) or (peak if known else None))
    given = case(tmp_path, device="cuda", work_bytes=4e9, work_flops=1e9)
    made = Pool()
    made.facts = {"cuda": {"gpu": {"name": "H200"}}}
    share, floor_s = made.share(given, 2e-3), made.floor_s(given)
    assert share == (roofline.share(given, 2e-3, peak) if known else {})
    assert floor_s == (roofline.floor_s(given, peak) if known else None)
    assert not known or (share["bytes_share"] == pytest.approx(0.5) and floor_s is not None and 1e-4 < floor_s < 1e-3)
    assert asked == [("cuda", {"gpu": {"name": "H200"}})]
