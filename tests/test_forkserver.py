"""The fork server, started for real: workers in and out, limits, and what is left when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench import HONEST, accepted, case, lives, open_files, tried

from aisp_runner.case import Limits
from aisp_runner.errors import DeviceError
from aisp_runner.forkserver import ForkServer
from aisp_runner.wire import Channel

pytest_plugins = ("shared_server",)

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}


@pytest.fixture
def fork(server: ForkServer, tmp_path: Path) -> Iterator[Callable[[], tuple[int, socket.socket]]]:
    """Starts a worker that waits for its job, in its own session; gives (pid, judge's end)."""
    started: list[tuple[int, socket.socket]] = []

    def start() -> tuple[int, socket.socket]:
        mine, theirs = Channel.pair()
        started.append((server.fork(theirs, ENVIRONMENT, tmp_path, 1 << 30, 1 << 20), mine))
        theirs.close()
        until = time.monotonic() + 5
        while os.getsid(started[-1][0]) != started[-1][0] and time.monotonic() < until:
            time.sleep(0.001)
        return started[-1]

    yield start
    for pid, mine in started:
        mine.close()
        server.kill(pid)


def gone(pid: int, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not lives(pid)


def test_a_worker_that_is_killed_is_gone_when_kill_returns(
    server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]
) -> None:
    pid, _ = fork()
    assert lives(pid)
    ended = server.kill(pid)
    assert not lives(pid)
    assert (ended.pid, ended.status, ended.cause) == (pid, -signal.SIGKILL, "stopped by the judge")
    assert server.kill(pid) is ended, "a second kill answers the same"


def test_a_worker_that_was_just_forked_can_be_killed(server: ForkServer, tmp_path: Path) -> None:
    for _ in range(5):
        mine, theirs = Channel.pair()
        pid = server.fork(theirs, ENVIRONMENT, tmp_path, 1 << 30, 1 << 20)
        theirs.close()
        server.channel.send("kill", pid=pid)
        try:
            assert server.wait(pid, 0.5).status == -signal.SIGKILL
        finally:
            mine.close()
            server.wait(pid, 5.0)


def test_a_worker_whose_judge_closes_the_channel_ends_by_itself(
    server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]
) -> None:
    pid, mine = fork()
    mine.close()
    ended = server.wait(pid, 5.0)
    assert (ended.status, ended.cause) == (0, "")


def test_ending_a_worker_waits_for_nothing_and_killing_it_afterwards_does(
    server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]
) -> None:
    pids = [fork()[0] for _ in range(3)]
    for pid in (*pids, *pids):
        server.end(pid)
    ended = [server.kill(pid) for pid in pids]
    assert [(e.pid, e.status, e.cause) for e in ended] == [(pid, -signal.SIGKILL, "stopped by the judge") for pid in pids]
    assert not any(lives(pid) for pid in pids)


def test_the_server_tells_which_workers_live(server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]) -> None:
    (first, _), (second, _) = fork(), fork()
    assert server.lives(first) and server.lives(second)
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 5
    while server.lives(first) and time.monotonic() < until:
        time.sleep(0.01)
    assert not server.lives(first) and server.lives(second)
    assert server.wait(first, 0.1).status == -signal.SIGKILL, "what it read meanwhile is kept"


def test_nobody_lives_once_the_server_is_gone(tmp_path: Path) -> None:
    started = ForkServer(cuda=False)
    mine, theirs = Channel.pair()
    pid = started.fork(theirs, ENVIRONMENT, tmp_path, 1 << 30, 1 << 20)
    theirs.close()
    assert started.lives(pid)
    started.close()
    mine.close()
    assert not started.lives(pid)


def test_waiting_for_a_living_worker_times_out(server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]) -> None:
    pid, _ = fork()
    with pytest.raises(TimeoutError):
        server.wait(pid, 0.05)
    assert lives(pid)


def test_the_end_of_one_worker_is_not_taken_for_that_of_another(
    server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]
) -> None:
    (first, _), (second, _) = fork(), fork()
    os.kill(first, signal.SIGTERM)
    assert server.wait(first, 5.0).status == -signal.SIGTERM
    assert lives(second)
    assert server.kill(second).pid == second


def test_a_worker_has_its_own_session_and_starts_in_its_folder(
    fork: Callable[[], tuple[int, socket.socket]], tmp_path: Path
) -> None:
    pid, _ = fork()
    until = time.monotonic() + 5
    while os.readlink(f"/proc/{pid}/cwd") != str(tmp_path) and time.monotonic() < until:
        time.sleep(0.01)
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
    assert os.getsid(pid) == pid
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status


def test_many_workers_leave_no_descriptor_behind(server: ForkServer, fork: Callable[[], tuple[int, socket.socket]]) -> None:
    def held() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    server.kill(fork()[0])
    before, mine = held(), open_files()
    for _ in range(5):
        pid, end = fork()
        end.close()
        server.kill(pid)
    assert held() == before
    assert open_files() <= mine


def test_closing_the_server_ends_every_worker(tmp_path: Path) -> None:
    with ForkServer(cuda=False) as own:
        pairs = [Channel.pair() for _ in range(2)]
        pids = [own.fork(theirs, ENVIRONMENT, tmp_path, 1 << 30, 1 << 20) for _, theirs in pairs]
        os.kill(own.process.pid, signal.SIGINT)  # Ctrl-C reaches the whole group; only the judge acts on it
        time.sleep(0.05)
        assert own.process.poll() is None
    assert own.process.returncode == 0
    assert all(gone(pid) for pid in pids)
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_server_that_died_is_explained(tmp_path: Path) -> None:
    own = ForkServer(cuda=False)
    own.process.kill()
    mine, theirs = Channel.pair()
    with pytest.raises(DeviceError, match="the fork server has died; run `aisp doctor`"):
        own.fork(theirs, ENVIRONMENT, tmp_path, 1 << 30, 1 << 20)
    own.close()
    mine.close()
    theirs.close()


JUDGE_THAT_IS_KILLED = """
    import os, sys, time
    from pathlib import Path
    from aisp_runner.forkserver import ForkServer
    from aisp_runner.wire import Channel
    server = ForkServer(cuda=False)
    mine, theirs = Channel.pair()
    pid = server.fork(theirs, {}, Path("/"), 1 << 30, 1 << 20)
    print(pid, server.process.pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_judge_that_is_killed_leaves_no_process() -> None:
    command = [sys.executable, "-c", textwrap.dedent(JUDGE_THAT_IS_KILLED)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert all(gone(int(pid)) for pid in done.stdout.split())


# What a worker gets, told by candidates that raise with it


def told(record: dict[str, object]) -> str:
    message = str(record["message"])
    assert record["reasons"] == ["worker.raised"], message
    return message.partition("raised RuntimeError: ")[2]


def test_a_worker_does_not_see_the_environment_of_the_judge(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "dolphin")
    code = "def candidate(a, b, c):\n    raise RuntimeError(json.dumps(sorted(os.environ)))"
    names = json.JSONDecoder().raw_decode(told(tried(case(tmp_path, code), server, tmp_path)))[0]
    assert "AISP_BUILD_DIR" in names and "PATH" in names
    assert "SECRET_TOKEN" not in names


SHOWS_DESCRIPTORS = """
    def candidate(a, b, c):
        links = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink("/proc/self/fd/" + fd).partition(":")[0])
            except OSError:
                continue
        raise RuntimeError(json.dumps(sorted(links)))
"""


def test_a_worker_holds_no_descriptor_of_the_server_or_of_other_workers(server: ForkServer, tmp_path: Path) -> None:
    links = json.JSONDecoder().raw_decode(told(tried(case(tmp_path, SHOWS_DESCRIPTORS), server, tmp_path)))[0]
    assert links.count("socket") == 1, "its channel and no other"
    assert links.count("anon_inode") == 2, "gate and done: no selector, no pidfd of another worker"
    assert links.count("/memfd") == 1, "its own ring"
    assert set(links) <= {"socket", "anon_inode", "/memfd", "pipe", "/dev/null", "/proc"}


LEAVES_A_CHILD = """
    def candidate(a, b, c):
        child = os.fork()
        if child == 0:
            {detached}
            time.sleep(30)
            os._exit(0)
        time.sleep(0.2)
        raise RuntimeError(str(child))
"""


def test_children_of_a_worker_end_with_it(server: ForkServer, tmp_path: Path) -> None:
    code = LEAVES_A_CHILD.format(detached="pass")
    child = int(told(tried(case(tmp_path, code), server, tmp_path)).split()[0])
    assert gone(child, 1.0)


def test_children_that_leave_the_session_end_with_the_worker(server: ForkServer, tmp_path: Path) -> None:
    code = LEAVES_A_CHILD.format(detached="os.setsid()")
    child = int(told(tried(case(tmp_path, code), server, tmp_path)).split()[0])
    left = not gone(child, 1.0)
    if left:
        os.kill(child, signal.SIGKILL)
    assert not left


def test_a_worker_does_not_see_the_environment_that_its_server_was_started_with(server: ForkServer, tmp_path: Path) -> None:
    code = "def candidate(a, b, c):\n    raise RuntimeError(str(b'dolphin' in open('/proc/self/environ', 'rb').read()))"
    assert told(tried(case(tmp_path, code), server, tmp_path)).startswith("False")


# Limits


def test_a_worker_that_prints_too_much_is_stopped_and_named(server: ForkServer, tmp_path: Path) -> None:
    code = "def candidate(a, b, c):\n    while True: print('x' * 65536)"
    made = tried(case(tmp_path, code), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.limit"])
    assert made["message"] == "candidate candidate printed more than 1 MiB (limit: limits.output_mib)"


def test_a_worker_that_prints_less_is_left_alone(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, HONEST + "    print('x' * 1000)\n"), server, tmp_path)
    assert accepted(made), made["message"]


def test_a_worker_that_takes_too_much_memory_is_stopped_and_named(server: ForkServer, tmp_path: Path) -> None:
    code = """
    kept = []
    def candidate(a, b, c):
        while True:
            kept.append(torch.ones(1 << 23))
            time.sleep(0.01)
    """
    limits = Limits(start_seconds=20.0, batch_seconds=10.0, memory_gib=0.5, output_mib=1.0)
    made = tried(case(tmp_path, code, limits=limits), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.limit"])
    assert "of host memory (limit: 0.50 GiB, limits.memory_gib)" in made["message"]
    assert made["message"].startswith("candidate candidate used 0.")


def test_the_last_words_of_a_worker_are_kept(server: ForkServer, tmp_path: Path) -> None:
    code = """
    def candidate(a, b, c):
        print("x" * 100000, "nothing to see here", flush=True)
        os._exit(3)
    """
    made = tried(case(tmp_path, code), server, tmp_path)
    assert made["reasons"] == ["worker.died"]
    assert "candidate candidate ended its process (exit status 3); it last printed: x" in made["message"]
    assert made["message"].endswith("nothing to see here")
    assert len(made["message"]) < 500


def test_workers_find_the_compiler_imported_once_a_source_names_it(tmp_path: Path) -> None:
    code = """
    loaded = "torch._inductor.compile_fx" in sys.modules
    def candidate(a, b, c):{named}
        assert loaded is {wanted}
        torch.add(a, b, out=c)
    """
    with ForkServer(cuda=False) as own:
        for named, wanted in (("", False), ("  # torch.compile would do", True), ("", True)):
            folder = tmp_path / f"{named != ''}-{wanted}"
            made = tried(case(folder, code.format(named=named, wanted=wanted)), own, folder)
            assert accepted(made), made["message"]
