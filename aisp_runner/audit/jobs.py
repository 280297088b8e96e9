"""Attacks of an audit shared out to processes at work at the same time, each on cores of its own.

Each process takes the next attack that nobody has taken, so that none is idle while there is one left. An attack is taken by
making a file of its name in a folder that all of them know.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aisp_runner.audit.attack import Attack
from aisp_runner.errors import AispError

Row = dict[str, Any]

LOOK_SECONDS = 0.2
"""How often the files of the processes are read for rows."""


def take(attack: Attack, claims: Path) -> bool:
    """Whether the attack is this process's to run: nobody else has taken it, and from now on nobody can."""
    try:
        os.close(os.open(claims / attack.name.replace("/", "-"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def rows(given: argparse.Namespace, chosen: Sequence[Attack], jobs: int) -> Iterator[Row]:
    """The rows of all attacks, as they come. Raises AispError where a process fails."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="aisp-audit-") as folder, contextlib.ExitStack() as stack:
        claims = Path(folder) / "claims"
        claims.mkdir()
        files, children = [Path(folder) / f"{job}.json" for job in range(jobs)], []
        for job, file in enumerate(files):
            child = _start(given, chosen, claims, file, cores[job::jobs] or cores)
            assert child.stderr is not None
            for undo in (child.stderr.close, child.wait, child.kill):  # the last one first
                stack.callback(undo)
            children.append(child)
        told = [0] * jobs
        while True:
            running = [child.poll() is None for child in children]
            for job, file in enumerate(files):
                fresh = _read(file)[told[job] :]
                told[job] += len(fresh)
                yield from fresh
            if not any(running):
                break
            time.sleep(LOOK_SECONDS)
        for child in children:
            if child.returncode not in (0, 3):
                raise AispError(f"a part of the audit ended with {child.returncode}: {child.communicate()[1].strip()[-300:]}")


def _start(
    given: argparse.Namespace, chosen: Sequence[Attack], claims: Path, file: Path, cores: Sequence[int]
) -> subprocess.Popen[str]:
    """A process that runs what it can take of the attacks on these cores, and writes its rows into the file."""
    names = ",".join(attack.name for attack in chosen)
    command = [sys.executable, "-m", "aisp_runner.aisp", "audit", "--device", given.device, "--jobs", "1"]
    command += ["--names", names, "--claims", str(claims), "--json", "--out", str(file)]
    command += ["--all-lengths"] * given.all_lengths + ["--mutate"] * given.mutate
    threads = {**os.environ, "OMP_NUM_THREADS": str(len(cores))}  # more threads than cores wait for one another
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=threads)
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(child.pid, cores)
    return child


def _read(file: Path) -> list[Row]:
    """The rows so far; none while the file is being written."""
    try:
        found: list[Row] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    return found
