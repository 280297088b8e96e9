"""Linux calls, each shown at work in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from bench import lives
from test_machine import root_of

from aisp_runner.system import cpu_ns, pin, spare_cores, urgent


def python(code: str) -> str:
    """What a fresh Python prints that runs this code."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


STARTS_A_SLEEPER = """
    import os, sys, time
    from aisp_runner import system
    read, write = os.pipe()
    if os.fork() == 0:
        if {dies}:
            system.die_with_parent()
        os.write(write, str(os.getpid()).encode())
        os.close(1), os.close(2)
        time.sleep(20)
    print(os.read(read, 20).decode())
"""


def test_a_process_dies_with_its_parent() -> None:
    pid = int(python(STARTS_A_SLEEPER.format(dies=True)))
    until = time.monotonic() + 5
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not lives(pid)


def test_without_it_a_process_outlives_its_parent() -> None:
    pid = int(python(STARTS_A_SLEEPER.format(dies=False)))
    time.sleep(0.1)
    assert lives(pid)
    os.kill(pid, signal.SIGKILL)


def test_orphans_come_to_the_process_that_keeps_them() -> None:
    parents = python(
        """
        import os, time
        from aisp_runner import system
        system.keep_orphans()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            parent = os.getpid()
            if os.fork() == 0:
                while os.getppid() == parent:
                    time.sleep(0.01)
                os.write(write, str(os.getppid()).encode())
                os._exit(0)
            os._exit(0)
        os.waitpid(child, 0)
        print(os.getpid(), os.read(read, 20).decode())
        """
    )
    keeper, parent = parents.split()
    assert parent == keeper


def test_new_privileges_are_forbidden_for_good() -> None:
    said = python(
        """
        from aisp_runner import system
        def flag():
            return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs"))
        before = flag()
        system.forbid_new_privileges()
        print(before, flag())
        """
    )
    assert said == "0 1"


def test_a_process_that_refuses_inspection_is_not_dumpable() -> None:
    said = python(
        """
        import ctypes
        from aisp_runner import system
        dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        before = dumpable()
        system.refuse_inspection()
        print(before, dumpable())
        """
    )
    assert said == "1 0"


def test_a_call_that_the_kernel_refuses_raises_with_its_reason() -> None:
    from aisp_runner import system

    with pytest.raises(OSError, match=r"prctl\(9999, 1\): Invalid argument"):
        system._prctl(9999, 1)


def test_cpu_time_counts_all_threads_and_no_sleep() -> None:
    def work() -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    start = cpu_ns(os.getpid())
    time.sleep(0.1)
    slept = cpu_ns(os.getpid()) - start
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worked = cpu_ns(os.getpid()) - start - slept
    assert slept < 0.05e9 and 0.19e9 < worked < 1e9


def test_cpu_time_of_an_ended_process_is_refused() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(ProcessLookupError, match=f"process {ended.pid} has ended"):
        cpu_ns(ended.pid)


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, siblings: str, usable: set[int] | None = None) -> Path:
    """A /sys in which "0,4 1,5" are the hardware threads of two physical cores, and a process that may use `usable` of them."""
    lists = {int(core): text for text in siblings.split() for core in text.replace("-", ",").split(",")}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: usable or set(lists))
    folder = "sys/devices/system/cpu"
    return root_of(tmp_path, {f"{folder}/cpu{core}/topology/thread_siblings_list": f"{text}\n" for core, text in lists.items()})


@pytest.mark.parametrize(
    ("siblings", "usable", "threads", "judge", "worker"),
    [
        pytest.param("0 1", None, 1, {0}, {1}, id="the worker is not on core 0"),
        pytest.param("0 1 2 3", None, 3, {0}, {1, 2, 3}, id="as many as it has threads"),
        pytest.param("0 1 2 3", None, 2, {0, 3}, {1, 2}, id="the judge has the rest"),
        pytest.param("0 1", None, 2, {0, 1}, {0, 1}, id="too few: both have everything"),
        pytest.param("0", None, 1, {0}, {0}, id="one core: both have it"),
        pytest.param("0 1 2 3", {2, 3}, 1, {3}, {2}, id="only cores that this process may use"),
        pytest.param("0,4 1,5 2,6 3,7", None, 2, {0, 3, 4, 7}, {1, 2}, id="siblings of the worker's cores stay free"),
        pytest.param("0-1 2-3 4-5", None, 2, {0, 1}, {2, 4}, id="siblings as a range"),
        pytest.param("0,2 1,3", None, 2, {0, 3}, {1, 2}, id="each physical core once, core 0 not"),
        pytest.param("0,2 1,3", None, 3, {0}, {1, 2, 3}, id="then siblings, core 0 last"),
        pytest.param("0,4 1,5", {0, 1, 5}, 2, {0}, {1, 5}, id="a sibling rather than core 0"),
        pytest.param("0,4 1,5", {0, 1, 5}, 1, {0}, {1}, id="a sibling that may be used stays free"),
        pytest.param("0,4 1,5", {1, 5}, 1, {5}, {1}, id="a sibling is better than the same core"),
    ],
)
def test_cores_are_shared_out(
    siblings: str, usable: set[int] | None, threads: int, judge: set[int], worker: set[int],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    assert spare_cores(threads, machine(monkeypatch, tmp_path, siblings, usable)) == (judge, worker)


def test_without_a_topology_each_core_stands_for_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert spare_cores(2, tmp_path) == ({0}, {1, 2})


def test_all_threads_of_a_process_are_pinned_and_what_it_starts_is_too() -> None:
    core = max(os.sched_getaffinity(0))
    said = python(
        f"""
        import os, subprocess, sys, threading
        from aisp_runner.system import pin
        seen, go = [], threading.Event()
        thread = threading.Thread(target=lambda: (go.wait(), seen.append(os.sched_getaffinity(0))))
        thread.start()
        pin(os.getpid(), {{{core}}})
        go.set()
        thread.join()
        tell = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
        print(seen[0], os.sched_getaffinity(0), subprocess.run(tell, capture_output=True, text=True).stdout.strip())
        """
    )
    assert said == " ".join([f"{{{core}}}"] * 3)


def test_pinning_refuses_cores_that_are_not_there_and_processes_that_have_ended() -> None:
    with pytest.raises(OSError, match=rf"pin\({os.getpid()}, \[8000\]\): Invalid argument"):
        pin(os.getpid(), {8000})
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(ProcessLookupError, match=f"process {ended.pid} has ended"):
        pin(ended.pid, {0})


def test_an_urgent_block_has_preference_and_gives_it_back() -> None:
    said = python(
        """
        import os
        from aisp_runner.system import urgent
        nice = lambda: os.getpriority(os.PRIO_PROCESS, 0)
        before = nice()
        with urgent() as preferred:
            inside = nice()
        print(preferred, inside < before, nice() == before)
        """
    )
    preferred, inside, after = said.split()
    assert preferred == inside, "it says whether it may"
    assert after == "True"


def test_without_the_right_an_urgent_block_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    with urgent() as preferred:
        assert preferred is False


@pytest.mark.parametrize("reads", [True, False], ids=["somebody reads", "nobody reads"])
def test_leaving_prints_what_was_printed_and_runs_no_exit_handler(reads: bool) -> None:
    code = "import atexit; from aisp_runner.system import leave; atexit.register(print, 'late'); print('said'); leave(3)"
    read, write = os.pipe()
    if not reads:
        os.close(read)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=20, check=False, env=buffered)
    os.close(write)
    said = b""
    if reads:
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
    assert (done.returncode, said, done.stderr) == (3, b"said\n" if reads else b"", b"")
