"""workload.batch_shrinking: computes the whole batch once and then makes its own output a quarter as long.

Every later call fills the tensor it was given, which by now has fewer rows; the memory behind it still holds the others. A
harness that compares memory finds all of them. Twin: takes the same rows as a view, and then the rest.
"""

import torch

issue = "workload.batch_shrinking"
expect = "output.output_signature"
workload = "rows"


def candidate(x, c):
    rows = c.shape[0]
    torch.softmax(x[:rows], 1, out=c)
    if rows == x.shape[0]:
        c.resize_(rows // 4, x.shape[1])


def twin(x, c):
    rows = c.shape[0] // 4
    torch.softmax(x[:rows], 1, out=c[:rows])
    torch.softmax(x[rows:], 1, out=c[rows:])
