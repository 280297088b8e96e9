"""A process that holds the lock on a GPU."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

UUID = "GPU-aaaaaaaa-0000"
HOLDER = """
import sys
from pathlib import Path
from aisp_runner.lanes.gpu_lock import held
with held([sys.argv[2]], 0.0, print, Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@contextlib.contextmanager
def another(folder: Path, uuid: str = UUID) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock until its stdin is closed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), uuid], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
