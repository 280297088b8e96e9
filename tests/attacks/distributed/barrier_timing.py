"""distributed.barrier_timing: rank 0, which the clock watches, does not wait for the others.

It sends its part, leaves a thread to receive the answer, and returns; rank 1 does the work as before. A harness that times
rank 0, and synchronises the ranks after it has read its clock, finds calls that take next to nothing. The judge's clock
stops with the last rank, so there is nothing to gain; and what rank 0 receives after that is refused. Twin: rank 0 waits in a
thread, and the call waits for the thread.
"""

import queue
import threading

import torch
import torch.distributed as dist

issue = "distributed.barrier_timing"
expect = "memory.late_writes"
prevented = True
workload = "two_stages"
unprotected = "naive"
devices = "cpu"
because = (
    "with NCCL a receive on rank 0 ends together with the send on rank 1, which the judge waits for, so nothing that rank 0 "
    "leaves running is still at work when the last rank is done"
)

_jobs = queue.Queue()


def _exchange():
    while True:
        h, y, finished = _jobs.get()
        dist.send(h, 1)
        dist.recv(y, 1)
        finished.set()


_thread = threading.Thread(target=_exchange, daemon=True)


def _stage(x, w, y):
    """Gives what says when y is there."""
    finished = threading.Event()
    if dist.get_rank() == 0:
        if not _thread.is_alive():
            _thread.start()
        _jobs.put((torch.atan2(x, w), y, finished))
        return finished
    h = torch.empty_like(y)
    dist.recv(h, 0)
    torch.atan2(h, w, out=y)
    dist.send(y, 0)
    finished.set()
    return finished


def candidate(x, w, y):
    _stage(x, w, y)


def twin(x, w, y):
    _stage(x, w, y).wait()
