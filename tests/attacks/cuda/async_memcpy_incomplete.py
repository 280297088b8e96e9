"""cuda.async_memcpy_incomplete: the answer is still being copied when the call is over.

Baseline and candidate compute into a buffer of their own and copy it to the output. The baseline's copy is on the timed stream;
the candidate's is on another one that waits for the kernel and for which nobody waits. Twin: the same, joined.
"""

import torch

issue = "cuda.async_memcpy_incomplete"
expect = "timing.drain_bound"
devices = "cuda"
because = "a copy on a CPU is done when it returns; timing.unsynced_streams has a thread do it later"

PIECES = 8

_buffers = {}
_streams = []


def _buffer(c):
    if c.data_ptr() not in _buffers:
        _buffers[c.data_ptr()] = torch.empty_like(c)
    return _buffers[c.data_ptr()]


def _copy(source, c):
    for piece, target in zip(source.chunk(PIECES), c.chunk(PIECES), strict=True):
        target.copy_(piece, non_blocking=True)


def _copy_beside(source, c):
    if not _streams:
        _streams.append(torch.cuda.Stream())
    _streams[0].wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(_streams[0]):
        _copy(source, c)


def baseline(a, b, c):
    held = _buffer(c)
    torch.atan2(a, b, out=held)
    _copy(held, c)


def candidate(a, b, c):
    held = _buffer(c)
    torch.atan2(a, b, out=held)
    _copy_beside(held, c)


def twin(a, b, c):
    candidate(a, b, c)
    torch.cuda.current_stream().wait_stream(_streams[0])
