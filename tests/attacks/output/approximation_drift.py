"""output.approximation_drift: writes zeros, on a workload whose declared tolerance takes zeros for an answer.

The answers lie within pi of zero, and the tolerance that is declared is 4. Twin: the honest kernel, with the honest
tolerance.
"""

import torch

issue = "output.approximation_drift"
expect = "output.vacuous_tolerance"
tolerance = 4.0


def candidate(a, b, c):
    c.zero_()


def twin(a, b, c):
    torch.atan2(a, b, out=c)
