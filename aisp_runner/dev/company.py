"""Processes that a benchmark starts beside itself: peers that answer, and neighbours that disturb."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from aisp_runner.errors import AispError

CONDITIONS = ("quiet", "neighbour", "every core")
"""Nobody else; a process that hammers the same GPU (on a CPU: one core); one that spins on every core."""


def answers(*words: str) -> Iterator[dict[str, Any]]:
    """What `python -m aisp_runner.dev.peers WORDS` says, line by line as it comes. Raises AispError when it fails."""
    peer = _start(words, stderr=subprocess.PIPE)
    assert peer.stdout is not None and peer.stderr is not None
    try:
        for line in peer.stdout:
            yield json.loads(line)
        told = peer.stderr.read()
        if peer.wait():
            raise AispError(f"the peers ended with status {peer.returncode}: {told.strip()[-300:]}")
    finally:
        _end(peer)


@contextlib.contextmanager
def disturbed(condition: str, device: str) -> Iterator[int]:
    """Neighbours at work while the block runs; gives how many there are."""
    busy = {
        "quiet": [],
        "neighbour": ["gpu" if device == "cuda" else "core"],
        "every core": ["core"] * len(os.sched_getaffinity(0)),
    }
    neighbours = [_start((word,)) for word in busy[condition]]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout is not None
            if not neighbour.stdout.readline():
                raise AispError(f"a neighbour did not start (exit status {neighbour.wait()})")
        yield len(neighbours)
    finally:
        for neighbour in neighbours:
            _end(neighbour)


def _start(words: tuple[str, ...], stderr: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "aisp_runner.dev.peers", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
