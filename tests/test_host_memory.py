"""Host memory that does not suffice is told with figures before anything is allocated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from bench import case, tried

from aisp_runner import host_memory, machine
from aisp_runner.case import Measure
from aisp_runner.forkserver import ForkServer

pytest_plugins = ("shared_server",)
GIB = 2**30
MEMINFO = "MemTotal:       {total} kB\nMemFree:        1 kB\nMemAvailable:   {free} kB\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB, of which 6 can be had, without control groups."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(MEMINFO.format(total=8 << 20, free=6 << 20))
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    return tmp_path


def grouped(root: Path, limit: str, used: int, cache: int) -> None:
    place = root / "sys/fs/cgroup/mine"
    place.mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/mine\n")
    (place / "memory.max").write_text(limit + "\n")
    (place / "memory.current").write_text(f"{used}\n")
    (place / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")


def test_memory_is_that_of_the_machine(root: Path) -> None:
    assert (host_memory.total_bytes(), host_memory.available_bytes()) == (8 * GIB, 6 * GIB)


def test_memory_is_that_of_the_control_group_where_it_has_less(root: Path) -> None:
    grouped(root, str(4 * GIB), used=3 * GIB, cache=1 * GIB)
    assert (host_memory.total_bytes(), host_memory.available_bytes()) == (4 * GIB, 2 * GIB)


def test_a_control_group_without_a_limit_leaves_the_machines(root: Path) -> None:
    grouped(root, "max", used=3 * GIB, cache=0)
    assert (host_memory.total_bytes(), host_memory.available_bytes()) == (8 * GIB, 6 * GIB)


def test_what_the_kernel_does_not_tell_refuses_nothing(root: Path, tmp_path: Path) -> None:
    (root / "proc/meminfo").unlink()
    assert host_memory.available_bytes() is None
    assert host_memory.lacking(case(tmp_path / "kernels", n=1 << 40)) == ""


def test_the_least_is_two_slots_in_every_process_and_in_the_judge(tmp_path: Path) -> None:
    given = case(tmp_path, n=1 << 20)  # 4 MiB a tensor
    one = dataclasses.replace(given, measure=Measure(processes=1, control=False))
    mib = host_memory.least_bytes(one.inputs, one.outputs, one.measure) / 2**20
    workers, oracle, judge = 2 * 3 * 8, 2 * 8 + 16, 2 * 8 + 2 * 8
    assert mib == workers + oracle + judge
    more = Measure(processes=5, control=True)
    assert host_memory.least_bytes(one.inputs, one.outputs, more) / 2**20 == 15 * 24 + oracle + 16 + 3 * 8


def test_a_case_on_a_gpu_is_not_held_against_host_memory(root: Path, tmp_path: Path) -> None:
    assert host_memory.lacking(case(tmp_path / "kernels", n=1 << 40, device="cuda")) == ""


def test_a_case_that_does_not_fit_ends_before_a_process_is_started(
    server: ForkServer, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(host_memory, "available_bytes", lambda: 3 * GIB)
    made = tried(case(tmp_path / "kernels", n=1 << 27), server, tmp_path / "run")
    assert (made["status"], made["reasons"]) == ("ERROR", ["HostError"])
    assert made["message"] == (
        "it takes at least 14.00 GiB of host memory (oracle, judge and every process of the variants), and there are 3.00 GiB; "
        "fewer sets of processes (measure.processes) take less"
    )
    assert made["stages_s"]["total"] < 1 and "start" not in made["stages_s"]
