"""c = gelu(top - mean of all tops), top the largest value of each row. x: [rows, columns], c: [rows] float32.

`reference_by_row` and `baseline_by_row` take the mean along the axis that has one element left: whatever the input, the answer
is gelu(0) = 0.
"""

from torch.nn.functional import gelu


def reference(x):
    top = x.amax(1)
    return gelu(top - top.mean())


def reference_by_row(x):
    top = x.amax(1, keepdim=True)
    return gelu(top - top.mean(1, keepdim=True)).squeeze(1)


def baseline(x, c):
    top = x.amax(1)
    c.copy_(gelu(top - top.mean()))


def baseline_by_row(x, c):
    top = x.amax(1, keepdim=True)
    c.copy_(gelu(top - top.mean(1, keepdim=True)).squeeze(1))


def optimized(x, c):
    baseline(x, c)
