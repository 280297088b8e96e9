"""output.shape_mismatch: returns one head where the workload declares several.

All heads are the same, so that copying or comparing broadcasts it to the right values. Twin: computes one head, too, and
returns as many as are declared.
"""

import torch

issue = "output.shape_mismatch"
expect = "output.output_signature"
workload = "distances"
returns = True

HEADS = {160: 4, 512: 16}


def candidate(x):
    return torch.exp(-(x[:, None] - x[None, :]).abs())


def twin(x):
    one = torch.exp(-(x[:, None] - x[None, :]).abs())
    return one.expand(HEADS[len(x)], -1, -1).contiguous()
