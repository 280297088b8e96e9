"""compile.guard_failure_hidden: a guard of the baseline's compiled code fails while the clock runs, and nobody is told.

Its compiled function depends on a number that changes every 48th call, which fails its guard; it is compiled again, quietly
and in the baseline's time. (Behind a gate, where the host is not timed, that would cost nothing.) Twin: the same numbers, all
of which the warm-up has seen before.
"""

import dataclasses

import torch

issue = "compile.guard_failure_hidden"
expect = "compile.recompile_counter"
claim = "wall"

EVERY = 48
KNOWN = 3

_compiled = {}
_calls = {"count": 0}


def _times(a, b, c, factor):
    c.copy_(torch.atan2(a, b) * factor / factor)


def _function():
    if "times" not in _compiled:
        import torch._dynamo

        torch._dynamo.config.recompile_limit = 10_000
        torch._dynamo.config.accumulated_recompile_limit = 10_000
        torch._dynamo.config.assume_static_by_default = True
        _compiled["times"] = torch.compile(_times, backend="eager", dynamic=False)
    return _compiled["times"]


def candidate(a, b, c):
    _function()(a, b, c, 2)


twin = candidate


def ever_new(a, b, c):
    _calls["count"] += 1
    _function()(a, b, c, 2 + _calls["count"] // EVERY)


def seen_before(a, b, c):
    if not _calls["count"]:
        for factor in range(KNOWN):
            _function()(a, b, c, 2 + factor)
    _calls["count"] += 1
    _function()(a, b, c, 2 + _calls["count"] % KNOWN)


def _with_baseline(world, function):
    world.cases[:] = [
        dataclasses.replace(c, baseline=dataclasses.replace(c.baseline, source=c.optimized.source, function=function))
        for c in world.cases
    ]


def stage(world):
    _with_baseline(world, "ever_new")


def twin_stage(world):
    _with_baseline(world, "seen_before")
