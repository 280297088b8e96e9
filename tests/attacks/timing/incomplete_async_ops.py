"""timing.incomplete_async_ops: a call gives back a promise of work, and nobody waits for it.

CPU: the operation is forked with torch.jit.fork and its future is dropped. CUDA: a stream of its own computes it
into a scratch buffer, which a non-blocking copy brings into the output. A harness that compares some time after its timer has
stopped finds the right answers. Twin: waits for the future; has the current stream wait for the copy.
"""

import torch

issue = "timing.incomplete_async_ops"
expect = "memory.late_writes"

_streams = []
_scratch = {}


def _work(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor):
    return torch.atan2(a, b, out=c)


@torch.jit.script
def _begin(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor):
    return torch.jit.fork(_work, a, b, c)


@torch.jit.script
def _whole(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor):
    return torch.jit.wait(torch.jit.fork(_work, a, b, c))


def _copy_later(a, b, c):
    if not _streams:
        _streams.append(torch.cuda.Stream())
    scratch = _scratch.setdefault(c.data_ptr(), torch.empty_like(c))
    _streams[0].wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(_streams[0]):
        torch.atan2(a, b, out=scratch)
        for _ in range(4):  # a copy alone is over before anyone looks
            c.copy_(scratch, non_blocking=True)


def candidate(a, b, c):
    if a.is_cuda:
        _copy_later(a, b, c)
    else:
        _begin(a, b, c)


def twin(a, b, c):
    if a.is_cuda:
        _copy_later(a, b, c)
        torch.cuda.current_stream().wait_stream(_streams[0])
    else:
        _whole(a, b, c)
