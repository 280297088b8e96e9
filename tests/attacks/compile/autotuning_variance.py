"""compile.autotuning_variance: a tuner lands on another variant in each process.

It chooses between computing once, twice and four times. What a noisy tuner does by accident happens in turn here, by a count
that the candidate's processes share in their folder, so that it happens each time. Twin: the first process chooses, and the
others find its choice there.
"""

import os
from pathlib import Path

import torch

issue = "compile.autotuning_variance"
expect = "compile.same_choice"
gains = False
claim = "wall"
measure = {"processes": 3}

_choice = {}


def _turn(name):
    """How many processes have asked before this one: each leaves a file behind."""
    folder = Path(os.environ["TMPDIR"])
    for number in range(100):
        try:
            (folder / f"{name}-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    return 0


def candidate(a, b, c):
    if "times" not in _choice:
        _choice["times"] = (1, 2, 4)[_turn("tuned") % 3]
    for _ in range(_choice["times"]):
        torch.atan2(a, b, out=c)


def twin(a, b, c):
    if "times" not in _choice:
        _turn("tuned")
        _choice["times"] = 1
    for _ in range(_choice["times"]):
        torch.atan2(a, b, out=c)


def stage(world):
    """The finding may be the machine's fault, so it stops a gate and nothing else."""
    world.quiet()
    world.gate()


def twin_stage(world):
    stage(world)
