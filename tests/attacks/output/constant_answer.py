"""output.constant_output: writes zeros, on a workload whose right answer is zero whatever the input.

The workload takes a mean along an axis that has one element left, so that nothing remains once it is subtracted, as problem 80
of KernelBench's level 2 does. A comparison with the reference finds nothing wrong. Twin: the operation with the mean along the
other axis, computed.
"""

import dataclasses

issue = "output.constant_output"
expect = "output.vacuous_tolerance"
workload = "centred"


def candidate(x, c):
    c.zero_()


def twin(x, c):
    from torch.nn.functional import gelu

    top = x.amax(1)
    c.copy_(gelu(top.sub_(top.mean())))


def stage(world):
    """The workload as it was mistaken: reference and baseline along the wrong axis."""
    world.cases[:] = [
        dataclasses.replace(
            case,
            reference=dataclasses.replace(case.reference, function="reference_by_row"),
            baseline=dataclasses.replace(case.baseline, function="baseline_by_row"),
        )
        for case in world.cases
    ]
