"""What a candidate's process can reach, in the sandbox and without it: each attack works where nothing is in its way."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aisp_runner import sandbox
from aisp_runner.forkserver import ForkServer
from sandbox.attacks import outcomes

pytest_plugins = ("shared_server",)

MISSING = sandbox.facts()["missing"]
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
ATTACKS = (
    "rewrite the kernel's source",
    "remove a name beside the source",
    "truncate a file",
    "write into the baseline's folder",
    "plant a library",
    "read a sibling's memory",
    "read a sibling's memory file",
    "trace a sibling",
    "stop a sibling",
    "signal the judge",
    "signal the fork server",
    "pin a sibling",
    "limit the judge",
    "slow the judge",
    "connect",
    "bind a port",
    "reach a service",
    "leave the session",
)
"""Keys of TRIES in attacks.py."""


@pytest.fixture(scope="module")
def told(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    """By mode: what came of each attack. One case a mode; its temporary files are in a folder of their own."""
    found = {}
    for mode in ("auto", "off"):
        folder = tmp_path_factory.mktemp(mode)
        with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as service:
            patch.setattr(tempfile, "tempdir", str(folder))
            (folder / "cache" / "aisp-run").mkdir(parents=True)
            patch.chdir(folder / "cache" / "aisp-run")
            service.bind("service")  # a relative name: an address holds 107 bytes
            service.listen()
            patch.chdir("/")
            found[mode] = outcomes(server, mode, folder, os.getpid())
    yield found


@pytest.mark.skipif(bool(MISSING), reason=f"this kernel lacks {MISSING}")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_confined_candidate_cannot(attack: str, told: dict[str, dict[str, str]]) -> None:
    assert told["auto"][attack] == "PermissionError"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_candidate_without_a_sandbox_can(attack: str, told: dict[str, dict[str, str]]) -> None:
    traced = "memory" in attack or attack == "trace a sibling"
    if traced and YAMA.exists() and YAMA.read_text().strip() != "0" and os.geteuid() != 0:
        pytest.skip(f"ptrace_scope is {YAMA.read_text().strip()}: tracing is refused to everybody but root here")
    assert told["off"][attack] == "done"


def test_every_attack_that_is_tried_is_looked_at(told: dict[str, dict[str, str]]) -> None:
    assert set(told["auto"]) == set(told["off"]) == set(ATTACKS)
