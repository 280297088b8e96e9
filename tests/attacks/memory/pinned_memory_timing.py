"""memory.pinned_memory_timing: the answer goes through pinned host memory, and the copies are started and not waited for.

The baseline's answer takes the same way, there and back on the timed stream. The candidate's copies are on a stream of their
own, for which nobody waits. Twin: the same, joined.
"""

import torch

issue = "memory.pinned_memory_timing"
expect = "memory.late_writes"
devices = "cuda"
because = "pinned memory is for copies to and from a GPU"
sizes = {"cuda": {"n": 262144}}

_buffers = {}
_streams = []


def _held(c):
    """Device and pinned host memory of an output."""
    if c.data_ptr() not in _buffers:
        _buffers[c.data_ptr()] = torch.empty_like(c), torch.empty(c.shape, dtype=c.dtype, pin_memory=True)
    return _buffers[c.data_ptr()]


def _there_and_back(held, pinned, c):
    pinned.copy_(held, non_blocking=True)
    c.copy_(pinned, non_blocking=True)


def baseline(a, b, c):
    held, pinned = _held(c)
    torch.atan2(a, b, out=held)
    _there_and_back(held, pinned, c)


def candidate(a, b, c):
    held, pinned = _held(c)
    torch.atan2(a, b, out=held)
    if not _streams:
        _streams.append(torch.cuda.Stream())
    _streams[0].wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(_streams[0]):
        _there_and_back(held, pinned, c)


def twin(a, b, c):
    candidate(a, b, c)
    torch.cuda.current_stream().wait_stream(_streams[0])
