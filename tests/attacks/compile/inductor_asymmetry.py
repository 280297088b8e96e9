"""compile.inductor_asymmetry: the arms run on unequal terms.

The baseline switches off, for its whole process, the library that computes products of bfloat16 matrices; the candidate is the
same product with the library on. A harness takes the switch for the candidate's gain. Twin: the baseline switches it off and on
again in its first call, and runs on the terms it was given.
"""

import dataclasses

import torch

issue = "compile.inductor_asymmetry"
expect = "compile.mode_parity"
workload = "product"
devices = "cpu"
because = "the library that is switched off is oneDNN, which computes on CPUs"

_seen = []


def candidate(a, b, c):
    torch.mm(a, b, out=c)


twin = candidate


def switched_off(a, b, c):
    torch.backends.mkldnn.enabled = False
    torch.mm(a, b, out=c)


def switched_back(a, b, c):
    if not _seen:
        torch.backends.mkldnn.enabled = False
        _seen.append(True)
        torch.backends.mkldnn.enabled = True
    torch.mm(a, b, out=c)


def _with_baseline(world, function):
    world.cases[:] = [
        dataclasses.replace(c, baseline=dataclasses.replace(c.baseline, source=c.optimized.source, function=function))
        for c in world.cases
    ]


def stage(world):
    _with_baseline(world, "switched_off")


def twin_stage(world):
    _with_baseline(world, "switched_back")
