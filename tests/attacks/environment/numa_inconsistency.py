"""environment.numa_inconsistency: the candidate's memory is bound to a node, the baseline's is not.

On a machine of several nodes its memory then lies elsewhere than the baseline's, so the two times are of different memory; a
harness that looks at outputs and times sees none of it. Where the kernel refuses the policy, it moves to cores that it was not
given, of whichever node. Twin: asks for the policy that all have.
"""

import ctypes
import os
import platform

import torch

issue = "environment.numa_inconsistency"
expect = "environment.host_placement"
gains = False
devices = "cpu"
because = "a driver places the memory of a GPU"

SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
DEFAULT, BIND = 0, 2


def _policy(mode):
    """Whether the kernel took it; node 0 where the mode takes a node."""
    nodes = ctypes.c_ulong(1 if mode == BIND else 0)
    call, bits = SET_MEMPOLICY[platform.machine()], 64 if mode == BIND else 0
    return ctypes.CDLL(None).syscall(ctypes.c_long(call), ctypes.c_long(mode), ctypes.byref(nodes), ctypes.c_long(bits)) == 0


def candidate(a, b, c):
    if not _policy(BIND):
        os.sched_setaffinity(0, range(os.cpu_count()))
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _policy(DEFAULT)
    torch.atan2(a, b, out=c)
