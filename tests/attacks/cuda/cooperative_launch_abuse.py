"""cuda.cooperative_launch_abuse: a cooperative launch takes the whole GPU after the call is over.

The kernel has a barrier for its whole grid, so all of it has to be on the GPU at once, and whoever comes after it waits. It is
launched on a stream for which nobody waits. Twin: the same launch, joined.
"""

import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

issue = "cuda.cooperative_launch_abuse"
expect = "timing.drain_bound"
devices = "cuda"
because = "a CPU has no cooperative launches"
workload = "spread"

BLOCK = 1024

_shared = {}
_streams = []


if triton is not None:

    @triton.jit
    def _divide_by_mean(x, c, partial, arrived, n, PROGRAMS: tl.constexpr, BLOCK: tl.constexpr):
        """c = x / mean(x). partial: a sum for each program; arrived: programs that were ever at the barrier."""
        program = tl.program_id(0)
        total = tl.zeros((BLOCK,), tl.float32)
        for start in range(program * BLOCK, n, PROGRAMS * BLOCK):
            at = start + tl.arange(0, BLOCK)
            total += tl.load(x + at, at < n, other=0.0)
        tl.store(partial + program, tl.sum(total, 0))
        tl.debug_barrier()
        ticket = tl.atomic_add(arrived, 1, sem="acq_rel")
        wanted = (ticket // PROGRAMS + 1) * PROGRAMS
        while tl.atomic_add(arrived, 0, sem="acquire") < wanted:
            pass
        others = tl.arange(0, BLOCK)
        mean = tl.sum(tl.load(partial + others, others < PROGRAMS, other=0.0, volatile=True), 0) / n
        for start in range(program * BLOCK, n, PROGRAMS * BLOCK):
            at = start + tl.arange(0, BLOCK)
            tl.store(c + at, tl.load(x + at, at < n, other=0.0) / mean, at < n)


def _launch(x, c):
    programs = torch.cuda.get_device_properties(0).multi_processor_count
    if c.data_ptr() not in _shared:
        _shared[c.data_ptr()] = torch.empty(programs, device="cuda"), torch.zeros(1, dtype=torch.int32, device="cuda")
    partial, arrived = _shared[c.data_ptr()]
    grid = (programs,)
    _divide_by_mean[grid](x, c, partial, arrived, x.numel(), programs, BLOCK, launch_cooperative_grid=True)


def _stream():
    if not _streams:
        _streams.append(torch.cuda.Stream())
    return _streams[0]


def candidate(x, c):
    _stream().wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(_stream()):
        _launch(x, c)


def twin(x, c):
    candidate(x, c)
    torch.cuda.current_stream().wait_stream(_stream())
