"""statistical.gc_interference: a baseline that switches the garbage collector on and leaves it work to do.

At every call it enables the collector and collects, with thousands of objects to walk, inside its timed batches; the
candidate keeps the same objects and leaves the collector alone. Twin: the same candidate, against a baseline that does not
touch the collector either.
"""

import dataclasses
import gc

import torch

issue = "statistical.gc_interference"
expect = "statistical.quiet_interpreter"
claim = "wall"
sizes = {"cpu": {"n": 16384}, "cuda": {"n": 16384}}  # the collector's work is the host's: next to a long kernel it is lost

OBJECTS = 5000

_live = []


def _objects():
    """What a collection has to walk; made at the first call and kept."""
    if not _live:
        _live.extend([] for _ in range(OBJECTS))


def collecting(a, b, c):
    _objects()
    gc.enable()
    gc.collect()
    torch.atan2(a, b, out=c)


def candidate(a, b, c):
    _objects()
    torch.atan2(a, b, out=c)


twin = candidate


def _against(world, name):
    """The baseline becomes a function of this file."""
    for number, case in enumerate(world.cases):
        baseline = dataclasses.replace(case.optimized, name="baseline", function=name)
        world.cases[number] = dataclasses.replace(case, baseline=baseline)


def stage(world):
    _against(world, "collecting")


def twin_stage(world):
    _against(world, "candidate")
