"""location.cpu_spillover: the GPU waits while a thread of the host computes, and the result counts as a kernel's.

The inputs are copied into pinned memory and a kernel raises a flag there; a thread that polls the flag computes on the CPU and
raises another one, which the kernel has been looking at meanwhile, and the answer is copied back. All of it can be enqueued, or
captured, behind the gate. Twin: the same copies into pinned memory, which nobody looks at; the GPU computes.
"""

import threading

import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

issue = "location.cpu_spillover"
expect = "location.device_residency"
devices = "cuda"
because = "on a CPU there is nowhere else for the work to go"
sizes = {"cuda": {"n": 16384}}
gains = False
measure = {"calls": [2, 6]}  # each waits for a turn of the thread

SLOTS = 512
READY, DONE = 0, 1
PATIENCE = 30_000
"""Looks at a flag until the kernel ends without an answer: tens of milliseconds."""

_jobs = {}
_pool = []


if triton is not None:

    @triton.jit
    def _ask(flags, READY: tl.constexpr, DONE: tl.constexpr, PATIENCE: tl.constexpr):
        tl.store(flags + READY, 1, cache_modifier=".wt")  # through to the host's memory
        looks = 0
        while (tl.load(flags + DONE, volatile=True) == 0) & (looks < PATIENCE):
            looks += 1
        tl.store(flags + DONE, 0, cache_modifier=".wt")


class _Job:
    """One slot's part of the pinned memory, and its two flags."""

    def __init__(self, number):
        held, self.flags = _pool[0][number], _pool[1][number]
        self.a, self.b, self.c = held
        self.seen = self.flags.numpy()


def _serve():
    while True:
        for job in list(_jobs.values()):
            if job.seen[READY]:
                job.seen[READY] = 0
                torch.atan2(job.a, job.b, out=job.c)
                job.seen[DONE] = 1


_thread = threading.Thread(target=_serve, daemon=True)


def _job(a, c):
    if not _pool:  # all at once: pinned memory cannot be had while a graph is captured
        _pool.append(torch.empty((SLOTS, 3, *a.shape), dtype=a.dtype, pin_memory=True))
        _pool.append(torch.zeros((SLOTS, 2), dtype=torch.int32, pin_memory=True))
    if c.data_ptr() not in _jobs:
        _jobs[c.data_ptr()] = _Job(len(_jobs))
    return _jobs[c.data_ptr()]


def _hand_over(a, b, c):
    job = _job(a, c)
    job.a.copy_(a, non_blocking=True)
    job.b.copy_(b, non_blocking=True)
    return job


def candidate(a, b, c):
    job = _hand_over(a, b, c)
    if not _thread.is_alive():
        _thread.start()
    _ask[(1,)](job.flags, READY, DONE, PATIENCE, num_warps=1)
    c.copy_(job.c, non_blocking=True)


def twin(a, b, c):
    _hand_over(a, b, c)
    torch.atan2(a, b, out=c)
