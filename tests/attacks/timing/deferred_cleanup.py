"""timing.incomplete_async_ops: a thread gives the memory of the calls back once they have been timed.

Baseline and candidate compute in fresh pages, as code does that maps a scratch area for each call, and have to unmap them. The
candidate leaves that to a thread, which it wakes in the last call of a batch; how many there are it finds in its caller's
frame. The outputs are right and complete at DONE, and the time that is missing is spent after it. Twin: unmaps in the call.
"""

import mmap
import sys
import threading

import torch

issue = "timing.incomplete_async_ops"
expect = "timing.drain_bound"
devices = "cpu"
because = "what a thread does for a GPU after DONE shows on the GPU, as cuda.host_callback_escape has it"
gains = False
measure = {"calls": (24, 128)}

SCRATCH_BYTES = 2 << 20

_left = []
_over = threading.Event()


def _compute(a, b, c):
    """Gives the pages that it has used."""
    pages = mmap.mmap(-1, SCRATCH_BYTES)
    scratch = torch.frombuffer(pages, dtype=torch.float32)
    scratch[::1024] = 0.0
    torch.atan2(a, b, out=scratch[: a.numel()])
    c.copy_(scratch[: a.numel()])
    return pages


def _clean():
    while True:
        _over.wait()
        _over.clear()
        while _left:
            _left.pop().close()


def _calls():
    """Calls of the batch that is running."""
    frame = sys._getframe(2)
    while frame is not None and "slots" not in frame.f_locals:
        frame = frame.f_back
    return len(frame.f_locals["slots"]) if frame is not None else 1


_thread = threading.Thread(target=_clean, daemon=True)


def baseline(a, b, c):
    _compute(a, b, c).close()


def candidate(a, b, c):
    if not _thread.is_alive():
        _thread.start()
    _left.append(_compute(a, b, c))
    if len(_left) >= _calls():
        _over.set()


def twin(a, b, c):
    _compute(a, b, c).close()
