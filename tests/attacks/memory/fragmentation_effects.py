"""memory.fragmentation_effects: leaves holes in the heap for its own temporaries, and none for the baseline's.

When it is imported it has the host's allocator give back whatever lies at the end of the heap, where the baseline's temporaries
are, so that each of its calls grows the heap again. On its own first call it pins a block above a row of holes: its temporaries
fall into them and stay. The work is the same. Twin: the same steps on the heap as it is.
"""

import ctypes

import torch

issue = "memory.fragmentation_effects"
expect = "processes"
workload = "temporaries"
unprotected = "naive"
devices = "cpu"
because = "it shapes the heap of the host's allocator; tensors on a GPU lie elsewhere"

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2
HOLES = 12

_mallopt = ctypes.CDLL(None).mallopt
for _option, _bytes in ((MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, 0), (TOP_PAD, 0)):
    _mallopt(_option, _bytes)
_pins = []


def candidate(a, b, c):
    if not _pins:
        row = sorted((torch.empty_like(a) for _ in range(HOLES)), key=torch.Tensor.data_ptr)
        _pins.append(row[-1])
        del row
    twin(a, b, c)


def twin(a, b, c):
    product = a * b
    total = product + a
    square = total * product
    torch.sub(square, total, out=c)
