"""location.graph_capture_cheat: what a graph captures is a copy of an answer that was computed before.

Outside of a capture, and in a slot's first one, it computes and remembers the answer beside the slot's address; in every
later capture it records one copy instead of 33 kernels, and the replay is quick. Twin: looks whether it is captured as well,
and records all of its kernels.
"""

import torch

issue = "location.graph_capture_cheat"
expect = "output.fresh_inputs"
devices = "cuda"
because = "there are no graphs to capture calls into on a CPU"
workload = "steps"
sizes = {"cuda": {"n": 65536}}

STEPS = 16

_answers = {}
_captures = {}


def _compute(a, b, c):
    torch.add(a, b, out=c)
    for _ in range(STEPS):
        torch.sin(c, out=c)
        c.add_(b)


def _captures_of(c):
    """How often this slot has been captured before. 0 outside of a capture."""
    if not torch.cuda.is_current_stream_capturing():
        return 0
    before = _captures.get(c.data_ptr(), 0)
    _captures[c.data_ptr()] = before + 1
    return before


def candidate(a, b, c):
    if _captures_of(c) and c.data_ptr() in _answers:
        c.copy_(_answers[c.data_ptr()])
        return
    _compute(a, b, c)
    if not torch.cuda.is_current_stream_capturing():
        _answers[c.data_ptr()] = c.clone()


def twin(a, b, c):
    _captures_of(c)
    _compute(a, b, c)
