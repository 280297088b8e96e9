"""What a plain harness says of an attack: one process, the attack's timer around the calls, one comparison at the end.

The harness is tests/attacks/naive.py. On a CPU each run is a fork of a process that has imported torch and done nothing else,
which is kept as long as this one lives: a fresh Python spends a second and a half on that import.
"""

from __future__ import annotations

import atexit
import dataclasses
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from aisp_runner.audit.attack import Attack, folder
from aisp_runner.case import Case
from aisp_runner.errors import AispError

GAIN = 1.3
"""An attack is alive when it is accepted unprotected with at least this speed-up (or, where it makes no gain, accepted at
all).
"""

SECONDS = 120
"""How long a run may take, s."""


def naive(attack: Attack, case: Case) -> dict[str, Any]:
    """Whether the plain harness takes the attack in, and with what gain. case: the attack's own, laid out."""
    asked = {
        "candidate": [case.optimized.source.path, case.optimized.function],
        "baseline": [case.baseline.source.path, case.baseline.function],
        "reference": [case.reference.source.path, case.reference.function],
        "returns": [attack.returns, case.baseline.returns],
        "device": case.device,
        "timer": attack.unprotected,
        "tensors": [dataclasses.asdict(t) for t in (*case.inputs, *case.outputs)],
    }
    own = Path(case.optimized.source.path).parent
    status, printed, errors = (_forked if case.device == "cpu" else _fresh)(json.dumps(asked), own)
    if status:
        return {
            "alive": False,
            "fake_speedup": None,
            "unprotected": attack.unprotected,
            "off_status": [errors.strip()[-200:] or f"ended with {status}"],
        }
    said = json.loads(printed.splitlines()[-1])
    return {
        "alive": said["correct"] and (not attack.gains or said["speedup"] >= GAIN),
        "fake_speedup": said["speedup"],
        "unprotected": attack.unprotected,
        "off_status": [str(said["correct"])],
    }


def _fresh(asked: str, own: Path) -> tuple[int, str, str]:
    """Exit status and what was printed of a process of its own, in the attack's folder."""
    command = [sys.executable, str(folder() / "naive.py"), asked]
    done = subprocess.run(command, cwd=own, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def _forked(asked: str, own: Path) -> tuple[int, str, str]:
    """The same of a fork of the process that is kept. Raises AispError where that has died."""
    kept, printed, errors = _kept(), own / "naive.out", own / "naive.err"
    assert kept.stdin is not None and kept.stdout is not None
    request = {"asked": asked, "folder": str(own), "printed": str(printed), "errors": str(errors), "seconds": SECONDS}
    kept.stdin.write(json.dumps(request) + "\n")
    kept.stdin.flush()
    status = kept.stdout.readline()
    if not status:
        raise AispError(f"the plain harness has died: exit status {kept.wait()}")
    return int(status), printed.read_text("utf-8"), errors.read_text("utf-8", "replace")


@cache
def _kept() -> subprocess.Popen[str]:
    """The process that is forked; it ends with this one, when nobody can ask it any more."""
    command = [sys.executable, str(folder() / "naive.py")]
    kept = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(kept.communicate)
    return kept
