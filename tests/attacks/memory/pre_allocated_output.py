"""memory.pre_allocated_output: allocates the buffer that it returns on its first call, with the answer in it.

What it returns from then on was allocated and filled before the clock started, once for each address of its input. Right where
the content at an address never changes. Twin: keeps the same buffer and computes into it on every call.
"""

import torch

issue = "memory.pre_allocated_output"
expect = "output.fresh_inputs"
returns = True

_buffers = {}


def _buffer(a, b):
    key = a.data_ptr()
    if key not in _buffers:
        _buffers[key] = torch.atan2(a, b)
    return _buffers[key]


def candidate(a, b):
    return _buffer(a, b)


def twin(a, b):
    return torch.atan2(a, b, out=_buffer(a, b))
