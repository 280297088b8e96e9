"""location.setup_pre_computation: the first call of a batch sets everything up, which is to compute all answers.

It finds the slots of the whole batch in its caller's frame and computes each of them, once for the process; every later call
copies. Twin: sets up one scratch buffer for each slot of the batch, and computes in every call.
"""

import sys

import torch

issue = "location.setup_pre_computation"
expect = "output.fresh_inputs"

_answers = {}
_buffers = {}


def _slots():
    """Inputs and outputs of all calls of this batch; of this call alone where there is no such batch."""
    frame = sys._getframe(2)
    while frame is not None and "slots" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["slots"]


def _set_up():
    for (a, b), (c,) in _slots():
        _answers.setdefault(c.data_ptr(), torch.atan2(a, b))


def candidate(a, b, c):
    if c.data_ptr() not in _answers:
        _set_up()
    c.copy_(_answers[c.data_ptr()])


def _allocate():
    for _, (c,) in _slots():
        _buffers.setdefault(c.data_ptr(), torch.empty_like(c))


def twin(a, b, c):
    if c.data_ptr() not in _buffers:
        _allocate()
    torch.atan2(a, b, out=_buffers[c.data_ptr()])
    c.copy_(_buffers[c.data_ptr()])
