"""workload.undeclared_shortcuts: all calls of a batch are computed at once, by the last of them.

The calls before it do nothing. The last one finds the slots of its batch in its caller's frame and computes them as the rows of
one tensor, with as many kernels as a single call needs: what a call has to wait for is paid once a batch and not once a call.
Every output is right and written in time, and nobody who calls the function once is served any faster. Twin: looks at the same
slots and computes its own call.
"""

import sys

import torch

issue = "workload.undeclared_shortcuts"
expect = "timing.clock_agreement"
devices = "cuda"
because = "a call alone is timed behind the gate, and a CPU has none"
workload = "steps"
sizes = {"cuda": {"n": 4096}}

STEPS = 16

_batch = {"slots": None, "calls": 0}


def _slots():
    """Inputs and outputs of all calls of this batch, and which of them this one is, from 1."""
    frame = sys._getframe(1)
    while "slots" not in frame.f_locals:
        frame = frame.f_back
    slots = frame.f_locals["slots"]
    if slots is not _batch["slots"]:
        _batch["slots"], _batch["calls"] = slots, 0
    _batch["calls"] += 1
    return slots, _batch["calls"]


def _rows(tensors):
    """Slots as the rows of one tensor; those between them come along. A slot of 4096 elements has no padding."""
    tensors = sorted(tensors, key=torch.Tensor.data_ptr)
    first, last = tensors[0], tensors[-1]
    step = first.numel()
    count = (last.data_ptr() - first.data_ptr()) // (first.element_size() * step) + 1
    return first.as_strided((count, step), (step, 1))


def _compute(a, b, c):
    torch.add(a, b, out=c)
    for _ in range(STEPS):
        torch.sin(c, out=c)
        c.add_(b)


def candidate(a, b, c):
    slots, number = _slots()
    if number == len(slots):
        _compute(
            _rows([inputs[0] for inputs, _ in slots]),
            _rows([inputs[1] for inputs, _ in slots]),
            _rows([outputs[0] for _, outputs in slots]),
        )


def twin(a, b, c):
    _slots()
    _compute(a, b, c)
