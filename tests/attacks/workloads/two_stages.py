"""Two stages of a pipeline: rank 0 makes h = atan2(x, w0) and hands it on; rank 1 makes y = atan2(h, w1) and hands it back.

x, w, y: [n] float32, one of each a rank; w0 is rank 0's w. Every rank's y is the same.
"""

import torch
import torch.distributed as dist


def reference(x, w):
    y = torch.atan2(torch.atan2(x[0], w[0]), w[1])
    return [y for _ in x]


def baseline(x, w, y):
    if dist.get_rank() == 0:
        dist.send(torch.atan2(x, w), 1)
        dist.recv(y, 1)
    else:
        h = torch.empty_like(y)
        dist.recv(h, 0)
        torch.atan2(h, w, out=y)
        dist.send(y, 0)


def optimized(x, w, y):
    baseline(x, w, y)
