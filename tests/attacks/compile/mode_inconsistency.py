"""compile.mode_inconsistency: what is verified is not what is timed.

It finds the length of the batch in its caller's frame. In the longest ones, whose time is what counts, it is in its fast mode
and computes an eighth of the elements; in shorter ones, such as those that a harness compares in the end, it computes all of
them. Twin: has two modes as well, both of them whole: eighths in long batches, one piece in others.
"""

import sys

import torch

issue = "compile.mode_inconsistency"
expect = "output.poisoned_outputs"

_longest = {"calls": 2}


def _is_timed():
    frame = sys._getframe(2)
    while frame is not None and "slots" not in frame.f_locals:
        frame = frame.f_back
    calls = len(frame.f_locals["slots"])
    _longest["calls"] = max(_longest["calls"], calls)
    return calls == _longest["calls"]


def candidate(a, b, c):
    n = a.numel() // 8 if _is_timed() else a.numel()
    torch.atan2(a[:n], b[:n], out=c[:n])


def twin(a, b, c):
    n = a.numel() // 8 if _is_timed() else a.numel()
    for start in range(0, a.numel(), n):
        end = start + n
        torch.atan2(a[start:end], b[start:end], out=c[start:end])
