"""c = x log(rate) - rate - log(x!): the log-likelihood of a Poisson law. x, rate, c: [n] float32.

`reference_without_factorial` leaves the last term out, which does not depend on the rate, as a loss to be minimised may.
"""

import torch


def reference(x, rate):
    return torch.xlogy(x, rate) - rate - torch.lgamma(x + 1)


def reference_without_factorial(x, rate):
    return torch.xlogy(x, rate) - rate


def baseline(x, rate, c):
    torch.sub(torch.xlogy(x, rate) - rate, torch.lgamma(x + 1), out=c)


def optimized(x, rate, c):
    baseline(x, rate, c)
