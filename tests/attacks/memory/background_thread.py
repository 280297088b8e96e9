"""location.background_thread: returns at once; a thread fills the output later.

The answers do arrive, and a harness that looks late enough finds them. Twin: a thread does the work and the call waits for
it.
"""

import queue
import threading

import torch

issue = "location.background_thread"
expect = "memory.late_writes"
claim = "wall"
sizes = {"cuda": {"n": 8388608}}  # a wall claim is told by host time: eight calls of 8 us are lost in it

_jobs = queue.Queue()


def _work():
    stream = torch.cuda.Stream() if torch.cuda.is_initialized() else None
    with torch.cuda.stream(stream):
        while True:
            a, b, c, finished = _jobs.get()
            torch.atan2(a, b, out=c)
            if stream is not None and finished is not None:
                stream.synchronize()
            if finished is not None:
                finished.set()


_thread = threading.Thread(target=_work, daemon=True)


def _hand_over(a, b, c, finished):
    if not _thread.is_alive():
        _thread.start()
    _jobs.put((a, b, c, finished))


def candidate(a, b, c):
    _hand_over(a, b, c, None)


def twin(a, b, c):
    finished = threading.Event()
    _hand_over(a, b, c, finished)
    finished.wait()
