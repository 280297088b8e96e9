"""c = softmax(q k^T / sqrt(dim)) v over the keys whose m is 0, one in eight.

q, c: [queries, dim], k, v: [keys, dim] float32. m: [keys] int32 from 0 to 7.
"""

import torch


def reference(q, k, v, m):
    scores = (q @ k.T) * q.shape[1] ** -0.5
    return torch.softmax(scores.masked_fill(m != 0, float("-inf")), 1) @ v


def baseline(q, k, v, m, c):
    scores = torch.matmul(q, k.T).mul_(q.shape[1] ** -0.5)
    torch.matmul(torch.softmax(scores.masked_fill_(m != 0, float("-inf")), 1), v, out=c)


def optimized(q, k, v, m, c):
    baseline(q, k, v, m, c)
