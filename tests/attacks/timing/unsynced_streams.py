"""timing.unsynced_streams: the work is left running while DONE is said.

CUDA: it runs on a stream of its own that waits for the gate and that nobody waits for; one tiny operation on the timed stream
looks like work. CPU: a thread is still at it. Twin: the same, joined before the call ends.
"""

from concurrent.futures import ThreadPoolExecutor

import torch

issue = "timing.unsynced_streams"
expect = "timing.drain_bound"

_pool = ThreadPoolExecutor(1)
_streams = []


def _launch(a, b, c):
    if a.is_cuda:
        if not _streams:
            _streams.append(torch.cuda.Stream())
        _streams[0].wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(_streams[0]):
            torch.atan2(a, b, out=c)
        return None
    return _pool.submit(torch.atan2, a, b, out=c)


def candidate(a, b, c):
    _launch(a, b, c)


def twin(a, b, c):
    job = _launch(a, b, c)
    if job is None:
        torch.cuda.current_stream().wait_stream(_streams[0])
    else:
        job.result()
