"""16 explicit Euler steps of dv/dt = x - v**3 from v = 0 to time 1: many small elementwise kernels in a row.

x and y [n], float32; y is v at the end. One call must read x and write y, 8 * n bytes, for 80 * n operations. Written as
the formula it is 80 launches on a tensor that fits in a first-level cache, so starting them is most of the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

STEPS = 16
DT = 1 / STEPS

_scratch: dict[tuple[object, ...], Tensor] = {}
_graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}


def reference(x: Tensor) -> Tensor:
    """The same steps in float64: the discretisation is part of the definition."""
    v = torch.zeros_like(x)
    for _ in range(STEPS):
        v = v + DT * (x - v * v * v)
    return v


def eager(x: Tensor, y: Tensor) -> None:
    """The formula as it is written: five launches and five temporaries a step."""
    v = torch.zeros_like(x)
    for _ in range(STEPS):
        v = v + DT * (x - v * v * v)
    y.copy_(v)


def in_place(x: Tensor, y: Tensor) -> None:
    """The same arithmetic in y and one reused buffer, four launches a step: isolates allocation."""
    t = _buffer(x)
    y.zero_()
    for _ in range(STEPS):
        torch.mul(y, y, out=t)
        t.mul_(y)
        torch.sub(x, t, out=t)
        y.add_(t, alpha=DT)


def composite(x: Tensor, y: Tensor) -> None:
    """As in_place, with multiply-and-subtract in one operation: three launches a step."""
    t = _buffer(x)
    y.zero_()
    for _ in range(STEPS):
        torch.mul(y, y, out=t)
        torch.addcmul(x, t, y, value=-1, out=t)
        y.add_(t, alpha=DT)


def graph(x: Tensor, y: Tensor) -> None:
    """The launches of in_place recorded once for each pair of addresses and replayed: isolates the host's dispatch."""
    key = (x.data_ptr(), y.data_ptr(), x.numel())
    if key not in _graphs:
        _graphs[key] = _captured(x, y)
    _graphs[key].replay()


def _captured(x: Tensor, y: Tensor) -> torch.cuda.CUDAGraph:
    """A graph of in_place on these addresses. A plain run first loads the kernels and makes the buffer."""
    in_place(x, y)
    torch.cuda.synchronize()
    recorded = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        recorded.capture_begin(capture_error_mode="thread_local")
        in_place(x, y)
        recorded.capture_end()
    torch.cuda.synchronize()
    return recorded


def _buffer(x: Tensor) -> Tensor:
    """Scratch of the size of x, kept between calls; every step writes it before reading it."""
    key = (x.device, x.shape)
    if key not in _scratch:
        _scratch[key] = torch.empty_like(x)
    return _scratch[key]


if triton is not None:

    @triton.jit
    def euler_kernel(x_ptr, y_ptr, n, dt, STEPS: tl.constexpr, BLOCK: tl.constexpr):
        """All steps of BLOCK elements in registers."""
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        x = tl.load(x_ptr + at, mask=inside, other=0.0)
        v = tl.zeros((BLOCK,), tl.float32)
        for _ in range(STEPS):
            v = v + dt * (x - v * v * v)
        tl.store(y_ptr + at, v, mask=inside)


def triton_fused(x: Tensor, y: Tensor) -> None:
    """One launch for all steps: no dispatch to hide, and no trip to memory between steps."""
    n = x.shape[0]
    euler_kernel[(triton.cdiv(n, 256),)](x, y, n, DT, STEPS=STEPS, BLOCK=256)
