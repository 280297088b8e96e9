"""evaluation.test_data_leakage: looks for the expected answer among the objects of its process, and copies it.

At its first call it tries every tensor of the output's shape that the garbage collector or a caller's frame knows, by 64 of
its elements. Where reference and candidate share a process it is there before the candidate runs. Here the oracle has a
process of its own and answers once the batch is over. Twin: looks at the same objects and computes.
"""

import gc
import sys

import torch

issue = "evaluation.test_data_leakage"
expect = "processes"
unprotected = "naive"

_found = {}


def _tensors():
    frame = sys._getframe(2)
    while frame is not None:
        for value in list(frame.f_locals.values()):
            yield from value if isinstance(value, list | tuple) else [value]
        frame = frame.f_back
    yield from gc.get_objects()


def _search(a, b, c):
    right = torch.atan2(a[:64], b[:64])
    for value in _tensors():
        alike = type(value) is torch.Tensor and (value.shape, value.dtype) == (c.shape, c.dtype)
        if alike and value.data_ptr() != c.data_ptr() and torch.allclose(value[:64], right):
            return value
    return None


def candidate(a, b, c):
    if "answer" not in _found:
        _found["answer"] = _search(a, b, c)
    if _found["answer"] is None:
        torch.atan2(a, b, out=c)
    else:
        c.copy_(_found["answer"])


def twin(a, b, c):
    if "answer" not in _found:
        _found["answer"] = _search(a, b, c)
    torch.atan2(a, b, out=c)
