"""c = w + 0.001 a b: a matrix moved by a small step that is a product. a: [m, n], b: [n, n], w, c: [m, n] float32.

The product's entries are around the square root of n. At n = 512 the step is around 0.02, where w's entries are around 1, so
the product's own rounding hardly shows in c.
"""

import torch


def reference(w, a, b):
    return w + 0.001 * (a @ b)


def baseline(w, a, b, c):
    torch.add(w, torch.matmul(a, b), alpha=0.001, out=c)


def optimized(w, a, b, c):
    baseline(w, a, b, c)
