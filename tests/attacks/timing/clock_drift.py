"""timing.clock_drift: replaces the clocks and the wait that a harness in the same process would use.

Time runs at a tenth of its speed, and waiting for the device does nothing. Twin: reads the same clocks and waits as usual.
"""

import time

import torch

issue = "timing.clock_drift"
expect = "timing.trusted_sync"
claim = "wall"
sizes = {"cuda": {"n": 8388608}}  # a wall claim is told by host time: eight calls of 8 us are lost in it

_original = time.perf_counter_ns


def _replace():
    begin = _original()
    time.perf_counter_ns = lambda: begin + (_original() - begin) // 10
    torch.cuda.synchronize = lambda *_, **__: None


def candidate(a, b, c):
    if time.perf_counter_ns is _original:
        _replace()
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    before = time.perf_counter_ns()
    torch.atan2(a, b, out=c)
    assert time.perf_counter_ns() >= before
