"""environment.memory_overcommit: the candidate has the kernel promise it a table that it may not hold.

It takes 24 GiB of private memory and touches one page of it. Where the kernel promises more than there is, a harness that
watches the memory in use sees 4 KiB; on a machine that keeps its promises the same candidate does not start. Twin: a table of
the size that it uses.
"""

import mmap

import torch

issue = "environment.memory_overcommit"
expect = "environment.host_limits"
gains = False

NO_RESERVE = 0x4000
_table = []


def _take(size):
    if not _table:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        _table.append(mmap.mmap(-1, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE))
        _table[0][0] = 1


def candidate(a, b, c):
    _take(24 << 30)
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _take(1 << 20)
    torch.atan2(a, b, out=c)
