"""output.dtype_mismatch: returns float64 where float32 is declared.

Copying it into the output casts it, and the values are right. Twin: returns what is declared.
"""

import torch

issue = "output.dtype_mismatch"
expect = "output.output_signature"
returns = True
gains = False


def candidate(a, b):
    return torch.atan2(a, b).double()


def twin(a, b):
    return torch.atan2(a, b)
