"""location.jit_compilation_timing: the baseline is traced again while the clock runs, and the candidate was traced before.

Compiling is in one side's time and not in the other's: the baseline of the attack throws its trace away every eighth call.
Twin: both are traced in the first call that they get, which is warm-up's.
"""

import dataclasses

import torch

issue = "location.jit_compilation_timing"
expect = "compile.recompile_counter"
workload = "steps"
sizes = {"cpu": {"n": 2048}, "cuda": {"n": 2048}}
claim = "wall"

STEPS = 16
EVERY = 8

_traced = {}
_calls = {"count": 0}


def _compute(a, b):
    c = a + b
    for _ in range(STEPS):
        c = torch.sin(c) + b
    return c


def candidate(a, b, c):
    if "compute" not in _traced:
        _traced["compute"] = torch.jit.trace(_compute, (a, b), check_trace=False)
    c.copy_(_traced["compute"](a, b))


twin = candidate


def traced_again(a, b, c):
    _calls["count"] += 1
    if _calls["count"] % EVERY == 0:
        _traced.clear()
    candidate(a, b, c)


def traced_once(a, b, c):
    candidate(a, b, c)


def _with_baseline(world, function):
    world.cases[:] = [
        dataclasses.replace(c, baseline=dataclasses.replace(c.baseline, source=c.optimized.source, function=function))
        for c in world.cases
    ]


def stage(world):
    _with_baseline(world, "traced_again")


def twin_stage(world):
    _with_baseline(world, "traced_once")
