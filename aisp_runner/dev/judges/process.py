"""A harness's process: started with what its checkout needs, ended with all its children after a time limit."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aisp_runner.content import content_root

PACKAGES = "packages"
"""Folder beside the checkouts for third-party packages that they import and this environment lacks."""


@dataclass(frozen=True)
class Verdict:
    """What a harness said of one function."""

    accepted: bool
    """Whether it took the function for correct and honest."""
    speedup: float | None
    """The speed-up that it told, or None where it told none."""
    seconds: float
    """Wall time from the start of its processes to the end of the last, s."""
    message: str
    """Its own words, shortened."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int | None
    """Exit status; None where the time limit ended it."""
    out: str
    err: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The last line of its error stream that says something, with how it ended."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        how = "ended by the time limit" if self.code is None else f"exit status {self.code}"
        return f"{how}: {lines[-1]}" if lines else how


def run(
    command: Sequence[str],
    home: Path,
    paths: Sequence[Path] = (),
    limit_s: float = 120.0,
    more: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> Ended:
    """Runs a command in `home`, which has its streams and its temporary files.

    paths: folders that are searched for modules before all others. limit_s: time limit, s. more: further environment. Whatever
    it has started is ended with it.
    """
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **(more or {})}
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment["PATH"] = os.pathsep.join([str(_commands(home)), os.environ.get("PATH", "")])
    environment["TMPDIR"] = str(home)
    with (home / "out.txt").open("w") as out, (home / "err.txt").open("w") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            list(command), cwd=home, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
            start_new_session=True, pass_fds=pass_fds,
        )  # fmt: skip
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(limit_s)
        seconds = time.perf_counter() - start
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return Ended(code, _read(home / "out.txt"), _read(home / "err.txt"), seconds)


def _commands(home: Path) -> Path:
    """A folder with a `python` that is this interpreter, since harnesses start their children by that name, and a `sudo` that
    refuses: none may lock the clocks of the machine.
    """
    folder = home / "bin"
    folder.mkdir(exist_ok=True)
    for name, does in {"python": f'exec {shlex.quote(sys.executable)} "$@"', "sudo": "exit 1"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    return folder


def _read(file: Path) -> str:
    return file.read_text("utf-8", errors="replace")


def own_module(name: str) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"aisp_runner.dev.judges.{name}"]


def own_path() -> Path:
    """The folder that this package is imported from."""
    return content_root() if (content_root() / "aisp_runner").is_dir() else content_root().parent.parent


def short(text: str, limit: int = 400) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
