"""The ceilings of the first visible GPU: memory, L2, matrix products, launches, copies to and from the host and a second GPU.

torch, Triton and cuda-bindings are imported when it is measured. What fails is a value without a number and with a reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aisp_runner.errors import ConfigError, DeviceError
from aisp_runner.peak.clock import Call, Clock, Effort, Way, best, first_line, spread, sustained, timing
from aisp_runner.peak.store import Value

if TYPE_CHECKING:
    import torch

    from aisp_runner.peak.gate import GateClock

GIB = 1 << 30
COPY_BYTES = (GIB, 4 * GIB)
"""Of source and target each, far beyond any L2, so that each call finds nothing there that it will use."""
L2_SHARE = 3
"""Source and target of the L2 copy together take a third of L2: a half of it may be another partition's."""
L2_PASSES = 64
"""In one launch, so that the launch gap of about 1 us is nothing beside it."""
READ_PASSES = 32
"""Blocks that a program of the read adds up before it writes one."""
BLOCKS = ((2048, 4), (8192, 8))
"""Elements (int32) a program and warps of the Triton copy."""
SIZES = (8192, 4096)
"""n of the n x n x n products."""
HOST_BYTES = 256 << 20
LAUNCHES = 200
PRODUCTS = {
    "matmul_fp32": "float32",
    "matmul_tf32": "float32",
    "matmul_bf16": "bfloat16",
    "matmul_fp16": "float16",
    "matmul_fp8": "float8_e4m3fn",
}


def measure(seconds: float, sizes: Sequence[int] = SIZES) -> tuple[dict[str, Value], dict[str, Any]]:
    """All values, by name, and what torch says of the GPU. seconds: about how long it may take."""
    import torch

    from aisp_runner.peak.gate import open_clock

    if not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} cannot use the GPU. See what is missing: aisp doctor")
    try:
        clock = open_clock()
    except ImportError as missing:
        raise ConfigError(f"--device cuda: {missing}. Install what a GPU needs: pip install 'aisp-run[cuda]'") from missing
    gc.collect()
    gc.disable()
    try:
        return _values(clock, seconds, sizes), hardware()
    finally:
        gc.enable()
        clock.close()


def hardware() -> dict[str, Any]:
    """Of the first visible GPU: l2_bytes and sm_count."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {"l2_bytes": int(properties.L2_cache_size), "sm_count": int(properties.multi_processor_count)}


def efforts(seconds: float) -> tuple[Effort, Effort]:
    """For memory and for products. Products rest longer: within 1 s of load an 8192 product in bfloat16 went from 1.42 to
    1.66 ms on an H200, by its power cap.
    """
    loaded = min(3.0, max(0.2, (seconds - 7) / 8))
    return Effort(), Effort(rest_s=0.05, batch_s=0.006, sustained_s=loaded)


def _values(clock: GateClock, seconds: float, sizes: Sequence[int]) -> dict[str, Value]:
    light, heavy = efforts(seconds)
    l2_bytes = hardware()["l2_bytes"]
    return {
        "copy": best(clock, copies(l2_bytes), "B/s", light)[0],
        "read": best(clock, reads(l2_bytes), "B/s", light)[0],
        "l2": best(clock, l2_ways(l2_bytes), "B/s", light)[0],
        "launch_gap": launch_gap(clock, light),
        "launch_to_done": launch_to_done(clock),
        "h2d": best(clock, host_copies("h2d"), "B/s", light)[0],
        "d2h": best(clock, host_copies("d2h"), "B/s", light)[0],
        "peer": best(clock, peer_copies(), "B/s", light)[0],
        **matmuls(clock, sizes, heavy),
    }


def matmuls(clock: Clock, sizes: Sequence[int], effort: Effort) -> dict[str, Value]:
    """Every kind of product after a rest first, and under load only then: a load slows down what follows it."""
    found = {}
    for name in PRODUCTS:
        with _precision(name):
            found[name] = best(clock, products(name, sizes), "FLOP/s", effort)
    values = {}
    for name, (value, way) in found.items():
        with _precision(name):
            values[name] = under_load(clock, value, way, effort)
    return values


def copies(l2_bytes: int) -> Iterator[Way]:
    """Device to device: bytes read and bytes written, both counted."""
    import torch

    for source, size in large(l2_bytes):
        target = torch.empty_like(source)
        yield _torch_copy(source, target, size)
        for block, warps in BLOCKS:
            yield triton_way("copy_kernel", source, target, 1, block, warps, size)


def reads(l2_bytes: int) -> Iterator[Way]:
    """From device memory alone: sums of READ_PASSES blocks, one of which is written."""
    for source, size in large(l2_bytes):
        for block, warps in BLOCKS:
            yield stream_way(source, block, warps, size)


def large(l2_bytes: int) -> Iterator[tuple[torch.Tensor, str]]:
    """Random int32 far larger than L2, as many as fit beside a target of the same size; and its size in words."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    fitting = [n for n in COPY_BYTES if 8 * l2_bytes <= n <= free // 4]
    if not fitting:
        raise DeviceError(f"{free / GIB:.1f} GiB of free device memory are too few for tensors that are far larger than L2")
    for nbytes in fitting:
        yield torch.empty(nbytes // 4, dtype=torch.int32, device="cuda").random_(), f"{nbytes // GIB} GiB"


def stream_way(source: torch.Tensor, block: int, warps: int, size: str) -> Way:
    """A launch of the Triton kernel that only reads; what it writes is counted as well."""
    import torch

    programs = source.numel() // (READ_PASSES * block)
    target = torch.empty(programs * block, dtype=torch.int32, device=source.device)
    kernel = _kernel("stream_kernel")
    return Way(
        f"triton read, {size}, block {block}",
        lambda: kernel[(programs,)](source, target, READ_PASSES, BLOCK=block, num_warps=warps),
        4.0 * programs * block * (READ_PASSES + 1),
    )


def l2_ways(l2_bytes: int) -> Iterator[Way]:
    """A working set that stays in L2, walked over and over."""
    import torch

    block = BLOCKS[0][0]
    count = l2_bytes // L2_SHARE // 2 // (4 * block) * block
    if not count:
        raise DeviceError(f"an L2 of {l2_bytes} bytes is too small to be measured")
    source = torch.empty(count, dtype=torch.int32, device="cuda").random_()
    target = torch.empty_like(source)
    size = f"{2 * 4 * count / 2**20:.0f} MiB"
    yield triton_way("copy_kernel", source, target, L2_PASSES, block, BLOCKS[0][1], size)
    yield triton_way("read_kernel", source, target, L2_PASSES, block, BLOCKS[0][1], size)
    yield _torch_copy(source, target, size)


def _torch_copy(source: torch.Tensor, target: torch.Tensor, size: str) -> Way:
    return Way(f"torch copy_, {size}", lambda: target.copy_(source), 2.0 * source.nbytes)


def triton_way(name: str, source: torch.Tensor, target: torch.Tensor, passes: int, block: int, warps: int, size: str) -> Way:
    """A launch of one of the Triton kernels; a read counts once, a copy twice."""
    count = source.numel()
    nbytes = 4 * count * (2 * passes if name == "copy_kernel" else passes + 1)
    how = f"triton {name.removesuffix('_kernel')}, {size}, block {block}" + (f", {passes} passes" if passes > 1 else "")
    return Way(how, lambda: _kernel(name)[(count // block,)](source, target, passes, BLOCK=block, num_warps=warps), nbytes)


@functools.cache
def _kernel(name: str) -> Any:
    from aisp_runner.peak import triton_kernels

    return getattr(triton_kernels, name)


def launch_gap(clock: Clock, effort: Effort) -> Value:
    """Time a call of an addition to one element, back to back behind the gate: what a launch takes on the device."""
    try:
        found = timing(clock, _tiny(), effort)
    except (RuntimeError, DeviceError) as refused:
        return Value("s", None, reason=first_line(refused))
    return Value("s", found.seconds, "addition to one element, behind the gate", found.spread, found.repeats)


def launch_to_done(clock: GateClock) -> Value:
    """From before the host launches an addition to one element on an idle device until the host sees DONE."""
    call = _tiny()
    clock.warm(call)
    try:
        waits = [clock.launch_to_done(call) for _ in range(LAUNCHES)]
    except (RuntimeError, DeviceError) as refused:
        return Value("s", None, reason=first_line(refused))
    return Value("s", statistics.median(waits), "addition to one element, idle device", spread(waits), LAUNCHES)


def _tiny() -> Call:
    import torch

    one = torch.zeros(1, device="cuda")
    return lambda: one.add_(1)


def host_copies(direction: str) -> Iterator[Way]:
    """Between pinned host memory and the device; each byte counts once."""
    import torch

    host = torch.empty(HOST_BYTES, dtype=torch.uint8, pin_memory=True).fill_(1)
    device = torch.empty(HOST_BYTES, dtype=torch.uint8, device="cuda").fill_(2)
    source, target = (host, device) if direction == "h2d" else (device, host)
    yield Way(f"pinned, {HOST_BYTES >> 20} MiB", lambda: target.copy_(source, non_blocking=True), HOST_BYTES)


def peer_copies() -> Iterator[Way]:
    """From the first GPU to the second; each byte counts once."""
    import torch

    if torch.cuda.device_count() < 2:
        raise DeviceError("one GPU is visible, and a peer copy needs two")
    if not torch.cuda.can_device_access_peer(0, 1):
        raise DeviceError("the first GPU has no peer access to the second")
    source = torch.empty(GIB, dtype=torch.uint8, device="cuda:0").fill_(1)
    target = torch.empty(GIB, dtype=torch.uint8, device="cuda:1")
    yield Way("GPU 0 to GPU 1, 1 GiB", lambda: target.copy_(source, non_blocking=True), GIB)


def products(name: str, sizes: Sequence[int], device: str = "cuda") -> Iterator[Way]:
    """n x n x n products of normal random numbers (zeros draw less power and look faster), 2 n**3 operations."""
    import torch

    dtype = getattr(torch, PRODUCTS[name])
    if name == "matmul_fp8" and device == "cuda" and torch.cuda.get_device_capability(0) < (8, 9):
        raise DeviceError("this GPU has no FP8 tensor cores (compute capability 8.9 or newer)")
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        if name == "matmul_fp8":
            yield _fp8(a, b, fast=True)
            yield _fp8(a, b, fast=False)
        else:
            yield _mm(a, b)


def _mm(a: torch.Tensor, b: torch.Tensor) -> Way:
    import torch

    n, c = a.shape[0], torch.empty_like(a)
    return Way(f"torch.mm, {n}^3", lambda: torch.mm(a, b, out=c), 2.0 * n**3)


def _fp8(a: torch.Tensor, b: torch.Tensor, fast: bool) -> Way:
    """Scaled product to bfloat16. fast: partial sums are kept in the tensor core's own, shorter accumulator."""
    import torch

    n, one = a.shape[0], torch.ones((), device=a.device)
    c = torch.empty(n, n, dtype=torch.bfloat16, device=a.device)
    how = f"torch._scaled_mm e4m3, {n}^3" + (", fast accumulation" if fast else "")
    product = functools.partial(torch._scaled_mm, out_dtype=torch.bfloat16, use_fast_accum=fast, out=c)
    return Way(how, lambda: product(a, b.t(), one, one), 2.0 * n**3)


def under_load(clock: Clock, value: Value, way: Way | None, effort: Effort) -> Value:
    """The value with its `sustained` beside it."""
    if way is None:
        return value
    try:
        loaded = sustained(clock, way.call, effort)
    except (RuntimeError, DeviceError) as refused:
        return dataclasses.replace(value, reason=f"sustained: {first_line(refused)}")
    return dataclasses.replace(value, sustained=way.work / loaded.seconds)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Products of float32 are IEEE (highest) but for tf32 (high)."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "matmul_tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
