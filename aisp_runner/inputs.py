"""Fresh, secret content for every call.

`Content` is the judge's private copy of what the next batch will read. Every activation of every call is drawn anew from a
seed that the operating system's random generator gives for that one draw, so what a worker has seen tells nothing about what
it will see. Seeds are kept for the record: once the run is over they are no secret. On a GPU the activations of a batch can
be made again from its seed (and a rank's, on a GPU of its own, from `seed_of`); on a CPU they also rest on the pools, whose
seeds are not kept.

On a CPU, drawing 256 MiB of normal numbers took 0.23 s on one core, and rotating two secret pools 0.02 s, so that is what a
draw does there: cos(t) * p[i:] + sin(t) * q[j:] of independent standard normals is again standard normal, and (u[i:] + r) mod
1 of uniforms is again uniform. Angle, shift and offsets are new for every call. Blind spot: across calls the values are not
independent given the pools, which a candidate could estimate at many times the cost of the work.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from aisp_runner.case import Tensor

if TYPE_CHECKING:
    from aisp_runner.device.base import Device

_SPARE = 8192
"""Elements by which a CPU pool is longer than a slot: the number of secret offsets."""

_STRIDE = 0x4F1BBCDCBFA53E0B
"""Odd, and far from any small number: seeds of ranks lie far apart."""


class Content:
    """The judge's private content: [slots, *shape] for each activation, [1, *shape] for each weight, by tensor name."""

    def __init__(self, inputs: Sequence[Tensor], slots: int, device: Device) -> None:
        self.inputs = tuple(inputs)
        self.store = {t.name: device.empty((1 if t.role == "weight" else slots, *t.shape), t.dtype, t.rank) for t in inputs}
        largest = max((math.prod(t.shape) for t in inputs), default=1)
        self.sources: dict[torch.device, _Generator] = {}
        """One for each place where content lies."""
        for rank in sorted({t.rank for t in inputs}):
            place = device.place(rank)
            if place not in self.sources:
                self.sources[place] = _Pools(largest) if place.type == "cpu" else _Generator(place, rank)
        self.seeds: list[int] = []
        self.draw_weights()

    def draw_weights(self) -> None:
        """New content for the weights; once a case."""
        self._reseed()
        for t in self.inputs:
            if t.role == "weight":
                self._fill(t, self.store[t.name])

    def draw(self, calls: int) -> int:
        """New content for the first `calls` slots; gives the seed it came from."""
        seed = self._reseed()
        for t in self.inputs:
            if t.role != "weight":
                self._fill(t, self.store[t.name][:calls])
        return seed

    def _reseed(self) -> int:
        seed = secrets.randbits(63)
        self.seeds.append(seed)
        for source in self.sources.values():
            source.reseed(seed)
        return seed

    def _fill(self, tensor: Tensor, out: torch.Tensor) -> None:
        self.sources[out.device].fill(out, tensor)


def seed_of(seed: int, rank: int) -> int:
    """What a rank's generator is seeded with, of a draw's seed: two with the same seed would draw the same content."""
    return (seed + rank * _STRIDE) % (1 << 63)


class _Generator:
    """Draws straight from torch's generator on the device."""

    def __init__(self, device: torch.device, rank: int = 0) -> None:
        self.generator, self.rank = torch.Generator(device=device), rank

    def reseed(self, seed: int) -> None:
        self.generator.manual_seed(seed_of(seed, self.rank))

    def fill(self, out: torch.Tensor, tensor: Tensor) -> None:
        """Fills [calls, *shape] with fresh content as the tensor's `init` says."""
        rows = out.reshape(out.shape[0], -1)
        step = max(1, (64 << 20) // max(1, rows.shape[1]))
        for start in range(0, rows.shape[0], step):
            part = rows[start : start + step]
            if tensor.init == "normal" and part.dtype.is_floating_point:
                self.normal(part)
            elif tensor.init == "uniform" and part.dtype.is_floating_point and (tensor.low, tensor.high) == (0.0, 1.0):
                self.uniform(part)
            else:
                part.copy_(_shaped(self._uniform_like(part), tensor))

    def normal(self, out: torch.Tensor) -> None:
        out.normal_(generator=self.generator)

    def uniform(self, out: torch.Tensor) -> None:
        out.uniform_(generator=self.generator)

    def _uniform_like(self, part: torch.Tensor) -> torch.Tensor:
        unit = torch.empty(part.shape, dtype=torch.float64, device=part.device)
        self.uniform(unit)
        return unit


class _Pools(_Generator):
    """Rotates secret pools: the CPU's fast way to content that was never seen before."""

    def __init__(self, largest: int) -> None:
        super().__init__(torch.device("cpu"))
        self.length = largest + _SPARE
        self._normals: tuple[torch.Tensor, torch.Tensor] | None = None
        self._uniform: torch.Tensor | None = None
        self._own = torch.Generator().manual_seed(secrets.randbits(63))

    def normal(self, out: torch.Tensor) -> None:
        if self._normals is None:
            p, q = (torch.empty(self.length).normal_(generator=self._own) for _ in range(2))
            self._normals = p, q
        p, q = self._normals
        size = out.shape[1]
        turns = torch.rand(out.shape[0], generator=self.generator, dtype=torch.float64).mul_(2 * math.pi).tolist()
        offsets = torch.randint(_SPARE, (out.shape[0], 2), generator=self.generator).tolist()
        for row, turn, (i, j) in zip(out, turns, offsets, strict=True):
            whole = row if row.dtype == torch.float32 else torch.empty(size)
            torch.mul(p[i : i + size], math.cos(turn), out=whole)
            whole.add_(q[j : j + size], alpha=math.sin(turn))
            if whole is not row:
                row.copy_(whole)

    def uniform(self, out: torch.Tensor) -> None:
        if self._uniform is None:
            self._uniform = torch.empty(self.length, dtype=torch.float64).uniform_(generator=self._own)
        size = out.shape[1]
        shifts = torch.rand(out.shape[0], generator=self.generator, dtype=torch.float64).tolist()
        offsets = torch.randint(_SPARE, (out.shape[0],), generator=self.generator).tolist()
        for row, shift, i in zip(out, shifts, offsets, strict=True):
            row.copy_(self._uniform[i : i + size].add(shift).frac_())


def _shaped(unit: torch.Tensor, tensor: Tensor) -> torch.Tensor:
    """Uniform numbers in [0, 1) turned into the tensor's law; float64."""
    low, high = tensor.low, tensor.high
    if tensor.init == "log_uniform":
        return unit.mul_(math.log(high / low)).exp_().mul_(low)
    if tensor.init == "normal":
        return unit.mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2))
    scaled = unit.mul_(high - low).add_(low)
    return scaled.floor_() if tensor.init == "integers" else scaled
