"""A test file run again as a program: Triton reads TRITON_INTERPRET when it is imported, so each way needs its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def child(file: str, task: str) -> dict[str, str]:
    """What `file` prints as its last line, JSON, when it is run for "interpret" (no compiler) or "compile" (no GPU)."""
    path = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    environment = dict(os.environ, PYTHONPATH=path, TRITON_DEFAULT_FP_FUSION="1")
    environment.pop("TRITON_INTERPRET", None)
    if task == "interpret":
        environment["TRITON_INTERPRET"] = "1"
    done = subprocess.run(
        [sys.executable, file, task], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
