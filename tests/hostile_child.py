"""Runs commands on hostile configs, each in a process of its own, and says what each took and did.

    python hostile_child.py JOBS.json RESULTS.json

What is imported is imported once; every job is forked from there, with a limit on its memory and on its time.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import hydra
import hydra.core.config_store
import hydra.core.hydra_config
import hydra.core.override_parser.overrides_parser
from hydra._internal import hydra as inner

from aisp_runner import aisp, cli, config, listing
from aisp_runner.lint import command as lint_command
from aisp_runner.plan import make_plan

LOADED = (aisp, cli, config, hydra, inner, lint_command, listing, make_plan)

ADDRESS_SPACE = 4 << 30
SECONDS = 20
"""A job that takes longer hangs. What it may cost is asserted of its CPU time, which a busy machine does not stretch."""
STARTING = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn", "socket.connect")


def watch(log: int, allowed: str) -> None:
    """Writes to `log` what only a config that runs something would do, from here on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        told = ""
        if event in STARTING:
            told = f"{event} {arguments!r}"
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            told = "" if str(arguments[0]) in ("/dev/null", "/dev/tty") else f"writes {arguments[0]!r}"
        elif event == "exec" and allowed in str(getattr(arguments[0], "co_filename", "")):
            told = f"runs {arguments[0].co_filename}"
        elif event == "os.putenv" and b"AISP_PWNED" in arguments[0]:
            told = "sets the environment"
        if told:
            os.write(log, told.encode("utf-8", "replace") + b"\n")

    sys.addaudithook(hook)


def child(job: dict[str, Any], log: int) -> None:
    """Runs one command and leaves the process."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    os.chdir(job["folder"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{job['out']}.{name}", os.O_WRONLY | os.O_CREAT, 0o600), number)
    signal.alarm(SECONDS)
    watch(log, job["folder"])
    main = cli.run if job["command"] == "aisp-run" else aisp.main
    code = main(job["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One job's exit code, CPU time in s, peak resident memory in MB, output and what it should not have done."""
    reading, writing = os.pipe()
    started = time.perf_counter()
    process = os.fork()
    if not process:
        try:
            child(job, writing)
        except BaseException:  # as an interpreter would end
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(99)
    os.close(writing)
    _, status, used = os.wait4(process, 0)
    with open(reading, encoding="utf-8") as file:
        done = file.read().splitlines()
    read = {name: Path(f"{job['out']}.{name}").read_text("utf-8", "surrogateescape") for name in ("stdout", "stderr")}
    return {
        **job, **read, "code": os.waitstatus_to_exitcode(status), "done": done,
        "cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.perf_counter() - started, "peak_mb": used.ru_maxrss / 1024,
    }  # fmt: skip


def main() -> None:
    jobs, results = (Path(word) for word in sys.argv[1:])
    start = time.process_time()
    told = {"start_cpu_s": start, "results": [run(job) for job in json.loads(jobs.read_text())]}
    results.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
