"""c = mean of x over a window of 5 x 5, zeros beyond the edge. x, c: [1, h, w] float32. On a CPU 15 ns an element."""

from torch.nn.functional import avg_pool2d


def reference(x):
    return avg_pool2d(x, 5, 1, 2)


def baseline(x, c):
    c.copy_(avg_pool2d(x, 5, 1, 2))


def optimized(x, c):
    c.copy_(avg_pool2d(x, 5, 1, 2))
