"""Which GPU is used for what, where ranks have one each. A made-up runtime notes the current device; nothing is computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("cuda.bindings")

from aisp_runner.device import cuda, driver
from aisp_runner.device.cuda import BLOCK, CudaDevice
from aisp_runner.device.cuda_worker import CudaWorksite
from aisp_runner.errors import DeviceError


class Success(int):
    """cudaSuccess."""

    name = "cudaSuccess"


class Runtime:
    """What cuda.bindings.runtime is asked, each with the device that was current for it."""

    cudaIpcMemLazyEnablePeerAccess = 1

    def __init__(self, gpus: int) -> None:
        self.gpus, self.now, self.torch_now = gpus, 0, 0
        self.log: list[tuple[Any, ...]] = []
        self.next = 4096

    def note(self, what: str, *more: Any) -> None:
        assert self.now == self.torch_now, "torch and the runtime are on different devices"
        self.log.append((what, self.now, *more))

    def cudaSetDevice(self, gpu: int) -> tuple[Any, ...]:
        self.now = gpu
        return (Success(0),)

    def cudaMalloc(self, nbytes: int) -> tuple[Any, ...]:
        self.next += BLOCK
        self.note("malloc", nbytes)
        return Success(0), self.next

    def cudaFree(self, pointer: int) -> tuple[Any, ...]:
        self.note("free", pointer)
        return (Success(0),)

    def cudaIpcGetMemHandle(self, pointer: int) -> tuple[Any, ...]:
        self.note("export", pointer)
        return Success(0), SimpleNamespace(reserved=b"\1" * 64)

    def cudaIpcMemHandle_t(self) -> Any:
        return SimpleNamespace(reserved=b"")

    def cudaIpcOpenMemHandle(self, handle: Any, flag: int) -> tuple[Any, ...]:
        self.note("open", handle.reserved)
        return Success(0), 123

    def cudaDeviceGetPCIBusId(self, length: int, gpu: int) -> tuple[Any, ...]:
        return Success(0), f"0000:{gpu:02x}:00.0".encode() + b"\0" + b" " * (length - 13)

    def cudaCtxResetPersistingL2Cache(self) -> tuple[Any, ...]:
        self.note("reset")
        return (Success(0),)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Three GPUs, the second with less free memory."""
    made = Runtime(3)

    @contextlib.contextmanager
    def on(gpu: int) -> Iterator[None]:
        before, made.torch_now = made.torch_now, gpu
        yield
        made.torch_now = before

    def opened(index: int) -> Any:
        made.log.append(("opened", index))
        scratch, probe = torch.zeros(1), torch.zeros(1)
        return cuda._Gpu(index, (32 << 30, 8 << 30, 32 << 30)[index], 50 << 20, scratch, probe)

    for module in (cuda, driver):
        monkeypatch.setattr(module, "runtime", made)
    monkeypatch.setattr(cuda._Gpu, "open", staticmethod(opened))
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: made.gpus)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: made.torch_now)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda gpu=None: made.log.append(("wait", gpu)))
    monkeypatch.setattr(cuda, "as_bytes", lambda pointer, nbytes, gpu: torch.zeros(4, dtype=torch.uint8) + gpu)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def test_a_gpu_is_not_touched_before_a_case_needs_it(runtime: Runtime) -> None:
    device = CudaDevice()
    assert [entry for entry in runtime.log if entry[0] == "opened"] == [("opened", 0)]
    for ranks in (2, 1, 2):
        device.use(ranks)
    assert [entry for entry in runtime.log if entry[0] == "opened"] == [("opened", 0), ("opened", 1)]


def test_more_ranks_than_gpus_is_told_with_what_to_do(runtime: Runtime) -> None:
    with pytest.raises(DeviceError, match=r"ranks: 4 of them need a GPU each, and 3 can be seen here\. Make more visible"):
        CudaDevice().use(4)


def test_a_ring_lies_and_is_freed_on_its_ranks_gpu(runtime: Runtime) -> None:
    device = CudaDevice()
    device.use(2)
    runtime.log.clear()
    first, second = device.allocate(100), device.allocate(100, 1)
    assert [entry[:2] for entry in runtime.log] == [("malloc", 0), ("export", 0), ("malloc", 1), ("export", 1)]
    assert runtime.log[0][2] == BLOCK and (runtime.now, runtime.torch_now) == (0, 0)
    assert [m.handle["bus"] for m in (first, second)] == ["0000:00:00.0", "0000:01:00.0"]
    assert second.bytes.tolist() == [1] * 4, "the tensor is told where it is"
    device.use(1)  # the next case has no ranks, and this one's processes are ended then
    runtime.log.clear()
    device.release(second)
    assert second.bytes.tolist() == [0] * 4 and [entry[:2] for entry in runtime.log] == [("wait", 1), ("free", 1)]
    device.release(first)
    assert runtime.log[-1] == ("free", 0, 4096 + BLOCK)


def test_the_smallest_gpu_of_the_case_bounds_the_rings(runtime: Runtime) -> None:
    device = CudaDevice()
    alone = device.ring_bytes(2)
    device.use(2)
    assert (alone, device.ring_bytes(2)) == (4 << 30, 1 << 30)


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_is_said_of_the_device_is_done_on_every_gpu_of_the_case(runtime: Runtime, ranks: int) -> None:
    device = CudaDevice()
    device.use(ranks)
    gpus = list(range(ranks))
    runtime.log.clear()
    device.synchronize()
    assert runtime.log == [("wait", gpu) for gpu in gpus]
    runtime.log.clear()
    device.flush()
    assert runtime.log == [("reset", gpu) for gpu in gpus] and (runtime.now, runtime.torch_now) == (0, 0)
    runtime.log.clear()
    marks = device.after_done(tuple(range(100, 100 + ranks)))
    assert runtime.log == [("wait", gpu) for gpu in gpus] and len(marks) == ranks
    assert [float(gpu.probe[0]) for gpu in device._used][-1] >= 1.0
    assert device.drained((100,) * ranks, marks) == max(marks)
    assert [device.place(rank) for rank in gpus] == [torch.device("cuda", gpu) for gpu in gpus]


@pytest.mark.parametrize(
    ("visible", "shown"), [(None, ["0", "1"]), ("2,0", ["2", "0"]), (" GPU-5f1c , GPU-77aa,GPU-0", ["GPU-5f1c", "GPU-77aa"])]
)
def test_a_rank_sees_its_own_gpu_alone(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, visible: str | None, shown: list[str]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = CudaDevice()
    assert [device.seat(rank) for rank in range(2)] == [({"CUDA_VISIBLE_DEVICES": name}, 0) for name in shown]


def test_a_worker_on_another_gpu_than_its_ring_says_so(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from aisp_runner.device import cuda_worker

    monkeypatch.setattr(cuda_worker, "runtime", runtime)
    monkeypatch.setattr(cuda_worker, "as_bytes", lambda pointer, nbytes, gpu: (pointer, nbytes, gpu))
    site = object.__new__(CudaWorksite)
    site.gpu = 0
    handle = {"nbytes": 64, "ipc": "01" * 64, "bus": "0000:00:00.0"}
    assert site.map(handle, None) == (123, 64, 0) and runtime.log == [("open", 0, b"\1" * 64)]
    with pytest.raises(DeviceError, match=r"has the GPU at 0000:00:00\.0, and its memory lies on the one at 0000:07:00\.0"):
        site.map(handle | {"bus": "0000:07:00.0"}, None)


def test_the_device_is_current_again_after_an_error(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cudaMalloc", lambda nbytes: (type("Full", (int,), {"name": "cudaErrorMemoryAllocation"})(2),))
    device = CudaDevice()
    device.use(2)
    with pytest.raises(DeviceError, match="on GPU 1 failed: cudaErrorMemoryAllocation"):
        device.allocate(100, 1)
    assert runtime.now == 0
