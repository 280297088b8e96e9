"""statistical.background_process_noise: the candidate leaves processes running that keep the baseline from its core.

They are in sessions of their own, so they are not frozen with their worker, and they work only while it is stopped: in the
turns of the others. The baseline then shares its core, and a harness tells a gain. Staged on a machine without the sandbox,
which refuses a session of its own. Twin: such processes that wait for work.
"""

import os
import signal
import time
from pathlib import Path

import torch

issue = "statistical.background_process_noise"
expect = "environment.quiet_machine"
devices = "cpu"
because = "a busy core does not slow the baseline's kernels on a GPU"

PROCESSES = 3

_started = []


def _once(work):
    while len(_started) < PROCESSES:
        _started.append(os.fork())
        if not _started[-1]:
            os.setsid()
            work(os.getppid())
            os._exit(0)


def _disturb(worker):
    state = Path(f"/proc/{worker}/stat")
    while os.getppid() == worker:
        if state.read_text().rpartition(")")[2].split()[0] in "Tt":
            sum(range(20_000))
        else:
            time.sleep(0.0005)


def _wait(worker):
    signal.pause()


def candidate(a, b, c):
    _once(_disturb)
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _once(_wait)
    torch.atan2(a, b, out=c)


def stage(world):
    world.sandbox = "off"


twin_stage = stage
