"""timing.event_timing_gaps: makes short batches slow, so that the slope between short and long ones shrinks.

It finds the length of the batch in its caller's frame and pads a short one to most of the length of the longest seen.
Twin: looks at its caller's frame too, and does nothing with it.
"""

import sys
import time

import torch

issue = "timing.event_timing_gaps"
expect = "timing.wall_clock_bound"

_state = {"longest": 0, "seconds": 0.0, "calls": 0, "batch": None}


def _batch_length():
    frame = sys._getframe(2)
    while frame is not None and "slots" not in frame.f_locals:
        frame = frame.f_back
    slots = frame.f_locals["slots"]
    first = slots is not _state["batch"]
    _state["batch"] = slots
    return len(slots), first


def _pad(a, seconds):
    if a.is_cuda:
        torch.cuda._sleep(int(seconds * 1.7e9))
    else:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass


def _learn(a, b, c):
    torch.atan2(a, b, out=c)
    if a.is_cuda:
        torch.cuda._sleep(1)  # loads it now: behind a shut gate it could not be
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        torch.atan2(a, b, out=c)
    if a.is_cuda:
        torch.cuda.synchronize()
    _state["seconds"] = (time.perf_counter() - start) / 20


def candidate(a, b, c):
    length, first = _batch_length()
    if _state["calls"] < 1:
        _state["calls"] += 1
        _learn(a, b, c)
    _state["longest"] = max(_state["longest"], length)
    if first and length * 2 < _state["longest"]:
        _pad(a, 0.5 * _state["seconds"] * (_state["longest"] - length))
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _batch_length()
    torch.atan2(a, b, out=c)
