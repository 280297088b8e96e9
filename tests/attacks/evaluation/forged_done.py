"""evaluation.eval_code_exploitation: reaches into the frames that called it, says DONE first and works afterwards.

It finds the caller's signal and the batch's number, sends the signal at the first call of each batch, and puts a slow clock
in the place of the caller's. A harness that believes what its own process reports records a tenth of the time. Twin: looks at
the same frames.
"""

import sys
import time
import types

import torch

issue = "evaluation.eval_code_exploitation"
expect = "output.poisoned_outputs"
devices = "cpu"
because = "behind a gate the signal is a kernel on the timed stream, and the caller's clock is not asked"

_state = {"sequence": None, "start": None}


def _caller():
    """The frame that times a batch, or None."""
    frame = sys._getframe(2)
    while frame is not None and not {"self", "sequence", "slots"} <= frame.f_locals.keys():
        frame = frame.f_back
    return frame


def _slow():
    return _state["start"] + (time.perf_counter_ns() - _state["start"]) // 10


def candidate(a, b, c):
    frame = _caller()
    if frame is not None and frame.f_locals["sequence"] != _state["sequence"]:
        _state["sequence"] = frame.f_locals["sequence"]
        _state["start"] = _state["start"] or time.perf_counter_ns()
        frame.f_globals["time"] = types.SimpleNamespace(perf_counter_ns=_slow, perf_counter=lambda: _slow() / 1e9)
        frame.f_locals["self"].site.signal_done(_state["sequence"])
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _caller()
    torch.atan2(a, b, out=c)
