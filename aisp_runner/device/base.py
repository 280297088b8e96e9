"""What judge and worker ask of a device, and how the tensors of a ring of slots lie in memory.

A `Memory` is one allocation that the judge owns and one worker maps: a ring of slots. Slot i of tensor t starts at `offset +
i * stride`; a weight has one slot for all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aisp_runner.case import Tensor

if TYPE_CHECKING:
    import torch

ALIGN = 256
"""Bytes to which every slot of every tensor is aligned: what an allocator of CUDA memory promises."""


@dataclass(frozen=True)
class Place:
    """Where one tensor's slots lie."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    stride: int
    slots: int


@dataclass(frozen=True)
class Layout:
    """Places of all tensors of a ring, in order, and the bytes they take together."""

    places: tuple[Place, ...]
    nbytes: int

    @staticmethod
    def of(tensors: Sequence[Tensor], slots: int) -> Layout:
        """A ring of `slots` slots; weights get one."""
        places, offset = [], 0
        for t in tensors:
            count = 1 if t.role == "weight" else slots
            stride = _padded(nbytes(t))
            places.append(Place(t.name, t.dtype, t.shape, offset, stride, count))
            offset += stride * count
        return Layout(tuple(places), max(offset, ALIGN))

    def views(self, memory: torch.Tensor) -> dict[str, torch.Tensor]:
        """[slots, *shape] views of the ring, by tensor name. memory: uint8, one dimension."""
        import torch

        views = {}
        for p in self.places:
            dtype = getattr(torch, p.dtype)
            rows = memory[p.offset : p.offset + p.stride * p.slots].view(p.slots, p.stride)
            size = dtype.itemsize
            for n in p.shape:
                size *= n
            views[p.name] = rows[:, :size].view(dtype).view(p.slots, *p.shape)
        return views

    @staticmethod
    def from_json(value: dict[str, Any]) -> Layout:
        """The inverse of `case.to_json`."""
        places = tuple(Place(**{**p, "shape": tuple(p["shape"])}) for p in value["places"])
        return Layout(places, value["nbytes"])


_ITEM_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}


def nbytes(tensor: Tensor) -> int:
    """Bytes of one slot of a tensor, without padding."""
    size = _ITEM_BYTES.get(tensor.dtype, 1)
    for n in tensor.shape:
        size *= n
    return size


def slot_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes of one slot of all tensors together, padded, weights left out."""
    return sum(_padded(nbytes(t)) for t in tensors if t.role != "weight")


def _padded(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


@dataclass(frozen=True)
class Memory:
    """One allocation of the judge and how a worker finds it."""

    bytes: torch.Tensor
    """uint8, one dimension."""
    handle: dict[str, Any]
    """Travels in the job message."""
    fd: int | None
    """Travels beside it."""


class Signals(Protocol):
    """The judge's side of gate and done for one worker."""

    fd: int

    def open_gate(self, sequence: int) -> None:
        """Lets batch `sequence` start."""

    looked_ns: int | None
    """The judge's clock before the last look that found the batch unfinished; 0 where the first look found it done, None where
    the judge sleeps and is woken.
    """

    seen_ns: int
    """The judge's clock at the look that found the end, before anything else was done."""

    def wait_done(self, sequence: int, seconds: float, channel: int, rest_ns: int = 0) -> bool:
        """True when the worker has signalled the end of batch `sequence`; False after `seconds`, or when it spoke on its
        channel instead. rest_ns: how long the batch is not expected to end.
        """

    @staticmethod
    def wait_all(ends: Sequence[tuple[Any, int]], sequence: int, seconds: float, rest_ns: int = 0) -> int | None:
        """The same of all ranks, each with its channel: None when all have signalled the end, else the number of one that has
        not. `looked_ns` and `seen_ns` of the first then are of all of them.
        """

    def reset(self) -> None:
        """Forgets all batches: the next case numbers its own from 1."""

    def close(self) -> None: ...


class Device(Protocol):
    """The judge's side."""

    name: str

    def use(self, ranks: int) -> None:
        """From now on a case of so many ranks runs: what is said of "the device" below is said of each rank's. Raises
        DeviceError where there is not one for each.
        """

    def place(self, rank: int) -> torch.device:
        """Where the memory of a rank lies; of a case without ranks that of rank 0."""

    def seat(self, rank: int) -> tuple[dict[str, str], int]:
        """What one rank of several finds: environment variables that show it its own device alone, and that device's number
        as it then sees it.
        """

    def ring_bytes(self, rings: int) -> int:
        """What the ring of each of so many workers may take, bytes."""

    def allocate(self, nbytes: int, rank: int = 0) -> Memory: ...

    def release(self, memory: Memory) -> None: ...

    def signals(self) -> Signals: ...

    def empty(self, shape: Sequence[int], dtype: str, rank: int = 0) -> torch.Tensor:
        """Private memory of the judge where `rank` has its own, uninitialised."""

    def synchronize(self) -> None:
        """Waits for all that the judge itself has asked of the device."""

    cache_bytes: int
    """Size of the last-level cache that `flush` clears; 0 where it clears none."""

    def flush(self) -> None:
        """Pushes other content out of the device's last-level cache, where the judge can."""

    def before_reveal(self, pid: int) -> None:
        """Keeps the worker from working on content that it can already read, where the device can."""

    def after_gate(self, pid: int) -> None:
        """Undoes `before_reveal`, inside the timed window."""

    def after_done(self, pids: Sequence[int]) -> Sequence[Any]:
        """The very first thing after DONE, for every rank's process; gives what `drained` needs, one a process."""

    def drained(self, pids: Sequence[int], marks: Sequence[Any]) -> int:
        """Nanoseconds of work found after DONE, by what `after_done` gave: the most of all ranks.

        CUDA: how long the judge's own small operation took. CPU: CPU time within 3 ms, of the thread that used most.
        """


class Replay(Protocol):
    """A captured graph."""

    def replay(self) -> None:
        """Enqueues it on the current stream."""


class Stamps(Protocol):
    """Time stamps that the device took."""

    def summary(self, calls: int) -> dict[str, Any]:
        """busy_ns, span_ns, kernels and call_ns of a batch of so many calls; `error` where there are none."""


class Worksite(Protocol):
    """The worker's side."""

    gated: bool
    """True when calls can be enqueued behind a gate."""

    def map(self, handle: dict[str, Any], fd: int | None) -> torch.Tensor:
        """The judge's allocation, as uint8 of one dimension."""

    def unmap(self, memory: torch.Tensor) -> None:
        """Lets go of what `map` gave; nothing may use it any more."""

    def arm_gate(self, sequence: int) -> None:
        """Enqueues the gate; what is enqueued afterwards waits for the judge."""

    def enqueue_done(self, sequence: int) -> None:
        """Enqueues DONE behind the calls."""

    def wait_gate(self, sequence: int) -> None:
        """Blocks this thread until the judge opens the gate."""

    def signal_done(self, sequence: int) -> None:
        """Says DONE from this thread."""

    def capture(self, calls: Callable[[], None]) -> Replay:
        """What `calls` asks of the current stream, as a graph. Raises RuntimeError where that cannot be captured."""

    def profiled(self, by: str) -> AbstractContextManager[Stamps]:
        """Collects the device's time stamps of what is started inside, until the block ends. by: cupti or kineto."""

    def touch(self) -> None:
        """One tiny operation, so that a batch without calls costs what any batch costs beyond its calls."""

    def synchronize(self) -> None:
        """Waits for the device, by the driver call that was captured before any candidate code was loaded."""
