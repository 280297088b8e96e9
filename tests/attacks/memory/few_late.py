"""location.background_thread: one call in many is left to a thread, which writes it a little later.

Too few for a comparison of some calls to come across them, and late enough that those at the end of a batch are written after
it. What all outputs are watched for sees them. Twin: hands the same calls to the thread and waits for it.
"""

import queue
import threading
import time

import torch

issue = "location.background_thread"
expect = "memory.late_writes"
gains = False
devices = "cpu"
because = "what a GPU writes late comes from streams and host functions, which other attacks use"
sizes = {"cpu": {"n": 4096}}
measure = {"calls": [4, 256], "verify_seconds": 0.002}

EVERY = 64
LATER_S = 1.5e-3

_calls = {"count": 0}
_asked = queue.SimpleQueue()


def _serve():
    while True:
        due, inputs, output, done = _asked.get()
        time.sleep(max(0.0, due - time.perf_counter()))
        torch.atan2(*inputs, out=output)
        done.set()


_thread = threading.Thread(target=_serve, daemon=True)


def _ask(a, b, c, later_s):
    if not _thread.is_alive():
        _thread.start()
    done = threading.Event()
    _asked.put((time.perf_counter() + later_s, (a, b), c, done))
    return done


def candidate(a, b, c):
    _calls["count"] += 1
    if _calls["count"] % EVERY:
        torch.atan2(a, b, out=c)
    else:
        _ask(a, b, c, LATER_S)


def twin(a, b, c):
    _calls["count"] += 1
    if _calls["count"] % EVERY:
        torch.atan2(a, b, out=c)
    else:
        _ask(a, b, c, 0.0).wait()
