"""A test file run again as a program: Triton reads TRITON_INTERPRET when it is imported, so each way needs its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TESTS = Path(__file__).resolve().parent
TASKS = ("interpret", "compile")


def started(file: str, task: str) -> subprocess.Popen[str]:
    """`file` as a program, at work on "interpret" (no compiler) or "compile" (no GPU)."""
    path = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    environment = dict(os.environ, PYTHONPATH=path, TRITON_DEFAULT_FP_FUSION="1")
    environment.pop("TRITON_INTERPRET", None)
    if task == "interpret":
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, file, task]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(file: str, tasks: Iterable[str] = TASKS) -> dict[str, dict[str, str]]:
    """What `file` prints as its last line, JSON, by task; all tasks at the same time."""
    running = {task: started(file, task) for task in tasks}
    told = {}
    for task, process in running.items():
        printed, complaints = process.communicate(timeout=600)
        assert process.returncode == 0, complaints[-3000:]
        told[task] = json.loads(printed.splitlines()[-1])
    return told
