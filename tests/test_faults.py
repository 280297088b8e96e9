"""Faults injected one by one: each ends in an ERROR record of its own, with a message that helps, and its neighbours go on.

Faults of a single case are in test_arm.py and test_forkserver.py as well; here they are the neighbours of honest cases, in one
run. The machine's own faults follow: a full /tmp, memory that the kernel takes back, a record file on a full disk.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, accepted, case, lives
from sweeps import lines, ran, resumed
from test_arm import fails

from aisp_runner.case import Limits, Plan
from aisp_runner.errors import DiskError, HostError
from aisp_runner.forkserver import ForkServer
from aisp_runner.host import descendants
from aisp_runner.plan_file import save_plan
from aisp_runner.verify_record import verify

pytest_plugins = ("shared_server",)

ALLOCATES = """
    kept = []
    def candidate(a, b, c):
        while True:
            kept.append(torch.ones(1 << 23))
            time.sleep(0.01)
"""
FILLS = """
    def candidate(a, b, c):
        with open("filler", "wb") as file:
            while True:
                file.write(b"x" * 65536)
"""
LIMITS = Limits(start_seconds=20.0, batch_seconds=1.0, memory_gib=0.5, output_mib=1.0)

FAULTS = {
    "segfaults": (fails("import ctypes; ctypes.string_at(0)"), "worker.died", "ended its process (SIGSEGV)"),
    "aborts": (fails("os.abort()"), "worker.died", "ended its process (SIGABRT)"),
    "exits": (fails("os._exit(3)"), "worker.died", "ended its process (exit status 3)"),
    "is killed": (fails("os.kill(os.getpid(), 9)"), "worker.died", "ended its process (SIGKILL)"),
    "hangs": (fails("time.sleep(60)"), "worker.hung", "did not finish a batch within 1 s and was stopped (limits.*_seconds)"),
    "allocates": (ALLOCATES, "worker.limit", "of host memory (limit: 0.50 GiB, limits.memory_gib)"),
    "meets its own limit": (
        fails("import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); torch.ones(1 << 29)"),
        "worker.raised",
        "can't allocate memory",
    ),
    "closes its pipe": (fails("channel().shutdown(2); time.sleep(9)"), "worker.protocol", "closed its channel"),
    "writes on its pipe": (fails("channel().send(b'garbage!')"), "worker.protocol", "is not a message"),
    "floods stdout": (fails("[os.write(1, b'x' * 65536) for _ in range(99999)]"), "worker.limit", "printed more than 1 MiB"),
    "floods stderr": (fails("[os.write(2, b'x' * 65536) for _ in range(99999)]"), "worker.limit", "printed more than 1 MiB"),
}


@pytest.fixture(scope="module")
def told(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """One run in which every second case fails; the records by what the case does."""
    folder = tmp_path_factory.mktemp("faults")
    codes = {name: code for name, (code, _, _) in FAULTS.items()}
    named = {name: case(folder / name.replace(" ", "_"), code, limits=LIMITS) for name, code in codes.items()}
    honest = {f"after {name}": case(folder / f"after_{n}", HONEST, n=4096) for n, name in enumerate(FAULTS)}
    both = [pair for two in zip(named.items(), honest.items(), strict=True) for pair in two]
    ran(Plan(tuple(given for _, given in both)), folder / "run", server)
    return folder / "run", dict(zip((name for name, _ in both), lines(folder / "run"), strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_a_candidate_that(told: tuple[Path, dict[str, dict[str, Any]]], name: str) -> None:
    made = told[1][name]
    _, reason, said = FAULTS[name]
    assert (made["status"], made["reasons"]) == ("ERROR", [reason]), made["message"]
    assert made["message"].startswith("candidate candidate ") and said in made["message"]
    assert made["speedup"] is None and made["key"]["case"]


@pytest.mark.parametrize("name", FAULTS)
def test_the_neighbour_of_a_candidate_that(told: tuple[Path, dict[str, dict[str, Any]]], name: str) -> None:
    made = told[1][f"after {name}"]
    assert accepted(made), made["message"]


def test_a_run_of_faults_bears_itself_out(told: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    assert [f.line() for f in verify(told[0]).findings if f.contradicts] == []


# The machine's own


@pytest.fixture
def small_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """TMPDIR on a file system of 2 MiB."""
    place = tmp_path / "tmp"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_candidate_that_fills_tmp_ends_its_own_case_alone(server: ForkServer, tmp_path: Path, small_tmp: Path) -> None:
    plan = Plan((case(tmp_path / "fills", FILLS), case(tmp_path / "honest", n=4096)))
    ran(plan, tmp_path / "run", server)
    full, after = lines(tmp_path / "run")
    assert (full["status"], full["reasons"]) == ("ERROR", ["worker.raised"])
    assert "OSError: [Errno 28] No space left on device" in full["message"]
    assert accepted(after), after["message"]
    assert os.listdir(small_tmp) == []


def test_a_tmp_that_is_full_before_a_case_is_its_error_and_not_the_runs_end(
    server: ForkServer, tmp_path: Path, small_tmp: Path
) -> None:
    (small_tmp / "others").write_bytes(b"x" * (2 << 20))
    ran(Plan((case(tmp_path / "one"), case(tmp_path / "two", n=4096))), tmp_path / "run", server)
    for made in lines(tmp_path / "run"):
        assert (made["status"], made["reasons"]) == ("ERROR", ["HostError"])
        assert "the machine refused the judge what the case needs: No space left on device" in made["message"]
        assert "make room there, or name another folder with TMPDIR" in made["message"]
    (small_tmp / "others").unlink()
    resumed(Plan((case(tmp_path / "one"), case(tmp_path / "two", n=4096))), tmp_path / "run", server, retry_errors=True)
    assert all(accepted(made) for made in lines(tmp_path / "run")[2:]), "made room, tried again"


def test_a_record_file_on_a_full_disk_ends_the_run_and_what_was_measured_is_there(
    server: ForkServer, tmp_path: Path, small_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, run_dir = Plan(tuple(case(tmp_path / "kernels", n=2048 * (1 + i)) for i in range(4))), small_tmp / "run"
    monkeypatch.setattr(tempfile, "tempdir", None)  # the processes' own files are elsewhere
    ran(dataclasses.replace(plan, cases=plan.cases[:1]), tmp_path / "calm", server)
    size = (tmp_path / "calm" / "records.jsonl").stat().st_size
    save_plan(plan, run_dir / "plan.json")
    plan_bytes = (run_dir / "plan.json").stat().st_size
    (small_tmp / "others").write_bytes(b"x" * (small_free(small_tmp) - plan_bytes - int(2.5 * size)))
    with pytest.raises(DiskError, match=rf"No space left on device\. .* go on with resume={run_dir}"):
        ran(plan, run_dir, server)
    before = lines(run_dir)
    assert 1 <= len(before) < 4, "what was measured is there, whole"
    (small_tmp / "others").unlink()
    resumed(plan, run_dir, server)
    assert lines(run_dir)[: len(before)] == before and len(lines(run_dir)) == 4
    assert verify(run_dir).exit_code == 0


def test_a_quarantine_file_that_cannot_be_written_loses_no_record(
    server: ForkServer, tmp_path: Path, small_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("AISP_QUARANTINE", str(small_tmp / "quarantine.yaml"))
    (small_tmp / "others").write_bytes(b"x" * small_free(small_tmp))
    wrong = case(tmp_path / "wrong", HONEST + "    c[7] = 0\n", phase="quarantine")
    with pytest.raises(DiskError, match=r"quarantine\.yaml: could not be written: No space left on device\. The record is in "):
        ran(Plan((wrong, case(tmp_path / "next", n=4096))), tmp_path / "run", server)
    assert [r["status"] for r in lines(tmp_path / "run")] == ["INVALID"]


def test_a_folder_that_cannot_be_made_is_told_before_anything_runs(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match=r"file/run: the folder cannot be made: Not a directory\. Name another with run_dir="):
        ran(Plan((case(tmp_path / "one"),)), tmp_path / "file" / "run", server)


def small_free(place: Path) -> int:
    told = os.statvfs(place)
    return told.f_bavail * told.f_bsize


def memory_group() -> Path | None:
    """The control group for memory that this process is in, version 1 or 2, where groups can be made below it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
            place = Path(base + path)
            fits = controllers == ("memory" if base.endswith("memory") else "")
            if fits and (place / "cgroup.procs").exists() and any(place.glob("memory.*")):
                return place
    return None


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A control group of 300 MiB."""
    above = memory_group()
    group = above / f"aisp-test-{os.getpid()}" if above else None
    try:
        assert group is not None
        group.mkdir()
    except (AssertionError, OSError):
        pytest.skip("needs a control group for memory that may be divided")
    limit = next((group / name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists()), None)
    if limit is None:
        group.rmdir()
        pytest.skip("needs a control group that limits memory")
    limit.write_text(str(300 << 20))
    monkeypatch.setenv("AISP_SANDBOX", "off")
    yield group
    until = time.monotonic() + 10
    while (group / "cgroup.procs").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    group.rmdir()


def test_a_worker_that_the_kernel_kills_for_memory_is_told_as_that(tmp_path: Path, tight: Path) -> None:
    code = f"""
    def candidate(a, b, c):
        with open({str(tight / "cgroup.procs")!r}, "w") as file:
            file.write(str(os.getpid()))
        torch.ones(1 << 28)
    """
    limits = dataclasses.replace(LIMITS, memory_gib=4.0, batch_seconds=20.0)
    with ForkServer(cuda=False) as own:
        ran(Plan((case(tmp_path / "bad", code, limits=limits), case(tmp_path / "good", n=4096))), tmp_path / "run", own)
    killed, after = lines(tmp_path / "run")
    assert (killed["status"], killed["reasons"]) == ("ERROR", ["worker.died"])
    assert "SIGKILL: the kernel had no memory left and killed a process; use smaller sizes" in killed["message"]
    assert accepted(after), after["message"]


def test_a_case_that_the_machine_refuses_a_descriptor_is_an_error_record(tmp_path: Path) -> None:
    """The limit is the runner's own: a process of its own has it."""
    code = f"""
import resource, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parent.parent)]!r}
from pathlib import Path
from bench import case
from aisp_runner.case import Plan
from aisp_runner.execute import run_plan
folder = Path({str(tmp_path)!r})
import aisp_runner.measure
import os
from aisp_runner import judge
opened = judge.Judge.start_oracle
def few(self):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), before[1]))
    try:
        opened(self)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        judge.Judge.start_oracle = opened
judge.Judge.start_oracle = few
run_plan(Plan((case(folder / "one"), case(folder / "two", n=4096))), folder / "run")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, stdout=subprocess.DEVNULL)
    first, second = lines(tmp_path / "run")
    assert (first["status"], first["reasons"]) == ("ERROR", [HostError.__name__])
    assert "Too many open files" in first["message"] and "raise the limit of open files (ulimit -n)" in first["message"]
    assert accepted(second), second["message"]


def test_a_runner_that_is_killed_leaves_no_process_and_a_file_that_goes_on(server: ForkServer, tmp_path: Path) -> None:
    plan = Plan(tuple(case(tmp_path / "kernels", n=2048 * (1 + i)) for i in range(3)))
    save_plan(plan, tmp_path / "plan.json")
    command = [sys.executable, "-m", "aisp_runner.execute", str(tmp_path / "plan.json"), "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (tmp_path / "run/records.jsonl").exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    below = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while any(map(lives, below)) and time.monotonic() < until:
        time.sleep(0.02)
    assert below and not [pid for pid in below if lives(pid)]
    resumed(plan, tmp_path / "run", server)
    assert [r["case"]["axes"]["n"] for r in lines(tmp_path / "run")] == [2048, 4096, 6144]
    assert verify(tmp_path / "run").exit_code == 0
