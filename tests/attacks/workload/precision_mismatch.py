"""workload.precision_mismatch: computes in single precision what is declared in double, under a tolerance that does not tell.

The outputs have the declared dtype, and the tolerance of 1e-5 that is declared takes them. What counts is that they pass: how
much faster single precision is depends on the machine (on an H200 the conversions cost what it saves). Twin: double
precision, with a tolerance that only double precision meets.
"""

import torch

issue = "workload.precision_mismatch"
expect = "output.vacuous_tolerance"
workload = "double"
tolerance = 1e-5
gains = False


def candidate(a, c):
    c.copy_(torch.lgamma(a.float()))


def twin(a, c):
    torch.lgamma(a, out=c)
