"""memory.page_fault_timing: makes the process it shares with the baseline give every block back to the system at once.

It sets the thresholds of the host's allocator when it is imported, so that each temporary of the baseline is mapped anew and
pays for the first touch of every page. On its own first call it has freed memory kept again, and then does what the baseline
does. Twin: the same steps in a process that it leaves alone.
"""

import ctypes

import torch

issue = "memory.page_fault_timing"
expect = "processes"
workload = "temporaries"
unprotected = "naive"
devices = "cpu"
because = "it sets thresholds of the host's allocator; memory of a GPU is mapped when it is allocated and has no first touch"

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1

_mallopt = ctypes.CDLL(None).mallopt
_mallopt(MMAP_THRESHOLD, 1 << 16)
_settled = []


def candidate(a, b, c):
    if not _settled:
        _mallopt(MMAP_THRESHOLD, 32 << 20)
        _mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
        _settled.append(True)
    twin(a, b, c)


def twin(a, b, c):
    product = a * b
    total = product + a
    square = total * product
    torch.sub(square, total, out=c)
