"""location.cpu_spillover: the GPU waits while a thread of the host computes, and the result counts as a kernel's.

The inputs are copied into pinned memory and a flag is written behind them; a thread that polls the flag computes on the CPU
and raises another one, for which the stream waits before it copies the answer back. All of it can be enqueued behind the
gate. Twin: the same copies into pinned memory and the same flags, which nobody polls; the GPU computes.
"""

import threading

import torch

issue = "location.cpu_spillover"
expect = "location.device_residency"
devices = "cuda"
because = "on a CPU there is nowhere else for the work to go"
sizes = {"cuda": {"n": 65536}}
gains = False

READY, DONE = 0, 1

_jobs = {}
_flags = []


def _driver():
    from cuda.bindings import driver

    return driver


def _check(answer):
    code = answer[0] if isinstance(answer, tuple) else answer
    if int(code) != 0:
        raise RuntimeError(f"a stream operation was refused: {code}")


def _write(place, value):
    driver = _driver()
    _check(driver.cuStreamWriteValue32(torch.cuda.current_stream().cuda_stream, place, value, 0))


def _wait(place, value):
    driver = _driver()
    _check(driver.cuStreamWaitValue32(torch.cuda.current_stream().cuda_stream, place, value, 0))


class _Job:
    """One slot's pinned buffers, its two flags and how often it has been asked for."""

    def __init__(self, a):
        self.a, self.b, self.c = (torch.empty(a.shape, dtype=a.dtype, pin_memory=True) for _ in range(3))
        self.flags = torch.zeros(2, dtype=torch.int32, pin_memory=True)
        self.seen = self.flags.numpy()
        self.asked = self.served = 0

    def place(self, flag):
        return self.flags.data_ptr() + 4 * flag


def _serve():
    while True:
        for job in list(_jobs.values()):
            if job.seen[READY] > job.served:
                torch.atan2(job.a, job.b, out=job.c)
                job.served += 1
                job.seen[DONE] = job.served


_thread = threading.Thread(target=_serve, daemon=True)


def _job(a, c):
    if c.data_ptr() not in _jobs:
        _jobs[c.data_ptr()] = _Job(a)
    return _jobs[c.data_ptr()]


def candidate(a, b, c):
    job = _job(a, c)
    if not _thread.is_alive():
        _thread.start()
    job.asked += 1
    job.a.copy_(a, non_blocking=True)
    job.b.copy_(b, non_blocking=True)
    _write(job.place(READY), job.asked)
    _wait(job.place(DONE), job.asked)
    c.copy_(job.c, non_blocking=True)


def twin(a, b, c):
    job = _job(a, c)
    job.asked += 1
    job.a.copy_(a, non_blocking=True)
    job.b.copy_(b, non_blocking=True)
    _write(job.place(READY), job.asked)
    torch.atan2(a, b, out=c)
