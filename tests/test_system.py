"""Linux calls, each shown at work in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from bench import lives

from aisp_runner.system import cpu_ns


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
