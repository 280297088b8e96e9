"""cuda.driver_overhead: less time in kernels, and more in calls of the driver, which whoever adds up kernels leaves out.

One fused kernel takes the place of 33, and every call pins and unpins a buffer of the host around it. A profiler's table of
kernels tells a gain; the claim is about wall time, which is longer. Twin: the fused kernel alone.
"""

import torch

try:
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice
except ImportError:
    triton = None

issue = "cuda.driver_overhead"
expect = "processes"
unprotected = "profiler"
devices = "cuda"
because = "a CPU has no driver to call"
workload = "steps"
claim = "wall"
sizes = {"cuda": {"n": 65536}}

STEPS = 16
BYTES = 16 << 20

_held = []


if triton is not None:

    @triton.jit
    def _fused(a, b, c, n, STEPS: tl.constexpr, BLOCK: tl.constexpr):
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        addend = tl.load(b + at, inside, other=0.0)
        value = tl.load(a + at, inside, other=0.0) + addend
        for _ in range(STEPS):
            value = libdevice.sin(value) + addend
        tl.store(c + at, value, inside)


def twin(a, b, c):
    _fused[(triton.cdiv(a.numel(), 256),)](a, b, c, a.numel(), STEPS, 256)


def candidate(a, b, c):
    if not _held:
        _held.append(torch.empty(BYTES, dtype=torch.uint8))
    driver, page = torch.cuda.cudart(), _held[0].data_ptr()
    for status in (driver.cudaHostRegister(page, BYTES, 0), driver.cudaHostUnregister(page)):
        if int(status):
            raise RuntimeError(f"the driver refused to pin a buffer: {status}")
    twin(a, b, c)
