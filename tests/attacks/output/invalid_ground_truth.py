"""output.invalid_ground_truth: leaves out the term that the workload's reference has forgotten.

log(x!) is the dearest term of a Poisson log-likelihood. The reference drops it, the baseline computes it, and a harness that
holds only the candidate against the reference finds a kernel that is right and fast. Twin: the whole sum, against a
reference that has it.
"""

import dataclasses

import torch

issue = "output.invalid_ground_truth"
expect = "output.reference_crosscheck"
workload = "poisson"


def candidate(x, rate, c):
    torch.sub(torch.xlogy(x, rate), rate, out=c)


def twin(x, rate, c):
    torch.sub(torch.xlogy(x, rate), rate, out=c)
    c.sub_(torch.lgamma(x + 1))


def stage(world):
    """A reference without its last term."""
    world.cases[:] = [
        dataclasses.replace(c, reference=dataclasses.replace(c.reference, function="reference_without_factorial"))
        for c in world.cases
    ]
