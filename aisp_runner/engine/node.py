"""What a task of Ray does on its node: `python -m aisp_runner.execute shard.json` in a folder of its own, as a child process.

Bytes come in and bytes go out. Ray itself is not imported.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aisp_runner import record
from aisp_runner.engine.task import shard_file
from aisp_runner.system import die_with_parent

LEFT_BY_RAY = ("OMP_NUM_THREADS",)
"""What Ray sets for a task and a worker must not see: how many threads it has is the case's to say."""

LAST_WORDS = 2000
"""Bytes of the runner's output that come back, from its end."""


def run_shard(head: bytes, plan: bytes, options: list[str]) -> Iterator[bytes]:
    """Gives the node's name; then, when the runner has ended, its records and {"code": its exit code, "said": its last words}.

    head: JSON that stands beside the plan in shard.json. plan: the content of plan.json. options: more for the runner.
    """
    yield f"{socket.gethostname()}".encode()
    with tempfile.TemporaryDirectory(prefix="aisp-task-") as folder:
        shard, run_dir = Path(folder) / "shard.json", Path(folder) / "run"
        shard.write_bytes(shard_file(json.loads(head), plan))
        code, said = _ran([sys.executable, "-m", "aisp_runner.execute", str(shard), "--run-dir", str(run_dir), *options])
        file = run_dir / record.FILE
        yield file.read_bytes() if file.is_file() else b""
        yield json.dumps({"code": code, "said": said}).encode()


def _ran(command: list[str]) -> tuple[int, str]:
    """Exit code and last words of a command, which ends when this process does; an interruption of this one is passed on."""
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_BY_RAY}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            preexec_fn=die_with_parent,
        )
        try:
            code = child.wait()
        except BaseException:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
        output.seek(max(0, output.seek(0, os.SEEK_END) - LAST_WORDS))
        return code, output.read().decode("utf-8", "replace")
