"""Runs a few lines in a fresh process that has confined itself, and gives what they print."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

START = """
import ctypes, errno, fcntl, json, os, resource, signal, socket, sys, threading
from aisp_runner.sandbox import Sandbox, confine, landlock, seccomp
from aisp_runner.sandbox.numbers import call, number
from aisp_runner.system import forbid_new_privileges
forbid_new_privileges()

def attempt(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def sleeping_child():
    "Ends when this process does; a confined parent's death signal would not reach it."
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        for other in (1, 2, writing):
            os.close(other)
        os.read(reading, 1)
        os._exit(0)
    return child

def tell(what):
    sys.stdout.write(json.dumps(what))
"""

ROOT = Path(__file__).resolve().parent.parent.parent


def told_inside(code: str, folder: Path) -> Any:
    """What the code handed to `tell`. It starts in `folder`."""
    text = START + textwrap.dedent(code)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
