"""timing.profiler_overhead: the baseline runs under a trace hook, and the candidate does not.

Both add up the squares of 64 pieces in Python. The baseline switches a line tracer on, which keeps the local variables as a
debugger does, and a harness takes the difference for the candidate's gain. Twin: the baseline's tracer looks at the first
call alone.
"""

import dataclasses
import sys

import torch

issue = "timing.profiler_overhead"
expect = "timing.no_profiler"
workload = "pieces"
devices = "cpu"
because = "the gate tells the time of kernels apart from that of the interpreter, which is all that a trace hook slows"

_lines = {}


def _trace(frame, event, argument):
    _lines[frame.f_code.co_filename, frame.f_lineno] = dict(frame.f_locals)
    return _trace


def _piece(a, c, start, width):
    part = a[start : start + width]
    index = start // width
    total = torch.dot(part, part)
    c[index] = total


def candidate(a, c):
    width = a.numel() // c.numel()
    for start in range(0, a.numel(), width):
        _piece(a, c, start, width)


twin = candidate


def traced(a, c):
    sys.settrace(_trace)
    candidate(a, c)


def traced_once(a, c):
    if not _lines:
        sys.settrace(_trace)
    candidate(a, c)
    sys.settrace(None)


def _with_baseline(world, function):
    world.cases[:] = [
        dataclasses.replace(c, baseline=dataclasses.replace(c.baseline, source=c.optimized.source, function=function))
        for c in world.cases
    ]


def stage(world):
    _with_baseline(world, "traced")


def twin_stage(world):
    _with_baseline(world, "traced_once")
