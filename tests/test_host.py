"""What the kernel says of processes and limits, from real processes and from made-up /proc files."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_machine import root_of

from aisp_runner import host, machine

ENDED = 2**22 + 5
"""No process has this id."""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        assert started.stdin is not None
        started.stdin.close()


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    return tmp_path


def test_every_thread_of_a_process_has_a_placement(sleeper: subprocess.Popen[bytes]) -> None:
    os.setpriority(os.PRIO_PROCESS, sleeper.pid, 7)
    assert host.placements(sleeper.pid) == [host.Placement(7, "SCHED_OTHER", frozenset(os.sched_getaffinity(0)))]
    assert host.placements(ENDED) == []


def test_the_judge_gives_what_the_fork_server_has_and_on_a_cpu_the_cores_set_apart(sleeper: subprocess.Popen[bytes]) -> None:
    cast = SimpleNamespace(server=SimpleNamespace(process=sleeper))
    given: dict[str, Any] = {"cast": cast, "case": SimpleNamespace(threads=1, ranks=1)}
    on_gpu = host.given_placement(SimpleNamespace(device=SimpleNamespace(name="cuda"), **given))
    assert on_gpu.cores == frozenset(os.sched_getaffinity(0)) and on_gpu.policy == "SCHED_OTHER"
    on_cpu = host.given_placement(SimpleNamespace(device=SimpleNamespace(name="cpu"), **given))
    assert len(on_cpu.cores) == 1 or len(on_gpu.cores) == 1


NUMA = "5581 default file=/bin/cat mapped=4 N0=4\n7f00 bind:1 anon=6 dirty=6 N0=1 N1=5\n7f10 bind:1 anon=2 N1=2\n7ffd default\n"


def test_memory_policies_and_own_pages_by_node_come_from_numa_maps(made_up: Path) -> None:
    root_of(made_up, {"proc/12/numa_maps": NUMA})
    assert host.pages(12) == host.Pages(frozenset({"default", "bind:1"}), {0: 1, 1: 7})
    assert host.pages(13) is None


def test_promised_and_available_memory_are_in_bytes(made_up: Path) -> None:
    root_of(
        made_up, {"proc/12/status": "Name:\tx\nVmData:\t   2048 kB\n", "proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 2 kB\n"}
    )
    assert host.promised_bytes(12) == 2 << 20
    assert host.memory_available() == (2048, 8192)
    assert host.promised_bytes(13) is None


def test_memory_that_is_promised_and_not_touched_counts() -> None:
    import mmap

    before = host.promised_bytes(os.getpid())
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        after = host.promised_bytes(os.getpid())
    assert before is not None and after is not None and after - before >= 64 << 20


def test_a_library_from_another_file_is_another_entry_of_the_same_name(tmp_path: Path) -> None:
    name = next(name for name in host.libraries(os.getpid()) if name.startswith(("libc.so", "libm.so")))
    (before,) = host.libraries(os.getpid())[name]
    copy = shutil.copy(before, tmp_path / name)
    loaded = ctypes.CDLL(str(copy))
    assert host.libraries(os.getpid())[name] == {before, str(copy)}
    Path(copy).unlink()
    assert host.libraries(os.getpid())[name] == {before, f"{copy} (deleted)"}
    assert loaded is not None


def test_a_library_in_memory_has_its_name(made_up: Path) -> None:
    line = "7f00-7f01 r-xp 00000000 00:01 42                     /memfd:libx.so.1 (deleted)\n"
    root_of(made_up, {"proc/12/maps": f"{line}7f02-7f03 rw-p 00000000 00:00 0\n"})
    assert host.libraries(12) == {"libx.so.1": {"/memfd:libx.so.1 (deleted)"}}


def test_open_gpus_are_those_with_a_number(made_up: Path) -> None:
    folder = made_up / "proc/12/fd"
    folder.mkdir(parents=True)
    for number, target in enumerate(("/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/null")):
        (folder / str(number)).symlink_to(target)
    assert host.gpu_files(12) == {"/dev/nvidia1"}


@pytest.mark.parametrize(
    ("groups", "place", "text", "ms"),
    [
        pytest.param("0::/job\n", "job/cpu.stat", "throttled_usec 2500\n", 2.5, id="version 2"),
        pytest.param("0::/elsewhere\n", "cpu.stat", "throttled_usec 2500\n", 2.5, id="version 2, of a container"),
        pytest.param("1:cpu,cpuacct:/job\n", "cpu,cpuacct/job/cpu.stat", "throttled_time 2500000\n", 2.5, id="version 1"),
        pytest.param("0::/\n", "cpu.stat", "usage_usec 9\n", None, id="no quota"),
        pytest.param("", "cpu.stat", "throttled_usec 1\n", None, id="no group"),
    ],
)
def test_throttled_time_is_that_of_the_own_control_group(
    tmp_path: Path, groups: str, place: str, text: str, ms: float | None
) -> None:
    root_of(tmp_path, {"proc/self/cgroup": groups, f"sys/fs/cgroup/{place}": text})
    assert host.throttled_ms(tmp_path) == ms


def test_governors_are_those_of_the_cores_asked_about(tmp_path: Path) -> None:
    name = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    told = {0: "powersave\n", 1: "performance\n", 2: "performance\n"}
    root_of(tmp_path, {name.format(core): text for core, text in told.items()})
    assert host.governors({1, 2}, tmp_path) == ("performance",)
    assert host.governors({0, 1, 2}, tmp_path) == ("performance", "powersave")
    assert host.governors({5}, tmp_path) is None


NESTED = """
import os, sys
if not os.fork():
    os.setsid()
    if not os.fork():
        end = os.times().user + 0.2
        while os.times().user < end:
            pass
        os._exit(0)
    os.wait()
    sys.stdout.write("waited\\n")
    sys.stdout.flush()
sys.stdin.read()
"""


def test_descendants_are_found_in_another_session_with_the_time_of_those_they_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", NESTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"waited\n"
        (child,) = host.descendants(process.pid)
        assert host.children(process.pid) == {child} and os.getsid(child) != os.getsid(process.pid)
        assert host.used_ns(child) >= 0.15e9
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
    end = time.monotonic() + 5
    while host.descendants(process.pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert host.descendants(process.pid) == set() and host.used_ns(ENDED) == 0
