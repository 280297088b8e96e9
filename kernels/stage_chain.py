"""Pictures become probabilities in three stages: prepare, classify, rank. Who carries a stage's answer to the next one?

x [n, pixels] uint8, mean, deviation [pixels], up [pixels, h], down [h, classes] (weights), best [n, 5], float32: the five
highest probabilities, in falling order. Prepare is z = (x / 255 - mean) / (0.5 + deviation), classify
relu(z up / sqrt(pixels)) down * 3 / sqrt(h), rank a softmax and its five highest. One call must read x and the weights and
write best, for 2 * n * h * (pixels + classes) operations. Prepared, a picture is four times as large as it came.
"""

from __future__ import annotations

import captured_calls
import torch
from torch import Tensor

BEST = 5
ROWS = 32
"""Pictures of a micro-batch."""

_rooms: dict[tuple[object, ...], tuple[Tensor, ...]] = {}


def reference(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The three stages in float64."""
    z = (x.double() / 255 - mean) / (0.5 + deviation)
    scores = torch.relu(z @ up / up.shape[0] ** 0.5) @ down * 3 / up.shape[1] ** 0.5
    return torch.softmax(scores, 1).topk(BEST, 1).values


def host_hops(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor, best: Tensor) -> None:
    """Each stage hands its answer over in host memory, as stages that are services of their own do. No hop on a CPU."""
    z = _prepare(x, mean, deviation).cpu()
    scores = _classify(z.to(x.device), up, down).cpu()
    best.copy_(_rank(scores.to(x.device)))


def resident(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor, best: Tensor) -> None:
    """Answers stay on the device: isolates the trips and their waits. CUDA only."""
    best.copy_(_rank(_classify(_prepare(x, mean, deviation), up, down)))


def in_rooms(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor, best: Tensor) -> None:
    """Every operation in place or into a room that is kept: isolates temporaries."""
    _in_rooms(x, *_weights(mean, deviation), up, down, best, _kept(x, up, down))


def micro_batched(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor, best: Tensor) -> None:
    """As in_rooms, 32 pictures at a time through all stages: the rooms stay in a cache, the weights are read more often."""
    scale, shift = _weights(mean, deviation)
    rooms = _kept(x, up, down)
    for rows, out in zip(x.split(ROWS), best.split(ROWS), strict=True):
        _in_rooms(rows, scale, shift, up, down, out, tuple(room[: rows.shape[0]] for room in rooms))


def folded(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor, best: Tensor) -> None:
    """Prepare moves into classify: scaled weights and a bias, made anew in each call; pictures are only cast to float32."""
    z, hidden, scores = _kept(x, up, down)
    scale, shift = _weights(mean, deviation)
    z.copy_(x)
    torch.addmm(shift @ up, z, up * scale.unsqueeze(1), beta=up.shape[0] ** -0.5, alpha=up.shape[0] ** -0.5, out=hidden)
    torch.addmm(scores, hidden.relu_(), down, beta=0, alpha=3 * up.shape[1] ** -0.5, out=scores)
    best.copy_(_rank(scores))


def graph(x: Tensor, mean: Tensor, deviation: Tensor, up: Tensor, down: Tensor, best: Tensor) -> None:
    """resident, captured once for each set of addresses and replayed: isolates dispatch. CUDA only."""
    captured_calls.replay(resident, x, mean, deviation, up, down, best)


def _prepare(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return (x / 255 - mean) / (0.5 + deviation)


def _classify(z: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return torch.relu(z @ up / up.shape[0] ** 0.5) @ down * 3 / up.shape[1] ** 0.5


def _rank(scores: Tensor) -> Tensor:
    return torch.softmax(scores, 1).topk(BEST, 1).values


def _weights(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Prepare as one scale and one shift a pixel."""
    below = 0.5 + deviation
    return 1 / (255 * below), -mean / below


def _in_rooms(
    x: Tensor, scale: Tensor, shift: Tensor, up: Tensor, down: Tensor, best: Tensor, rooms: tuple[Tensor, ...]
) -> None:
    """The three stages without a temporary but the ranking's."""
    z, hidden, scores = rooms
    torch.addcmul(shift, z.copy_(x), scale, out=z)
    torch.addmm(hidden, z, up, beta=0, alpha=up.shape[0] ** -0.5, out=hidden)
    torch.addmm(scores, hidden.relu_(), down, beta=0, alpha=3 * up.shape[1] ** -0.5, out=scores)
    best.copy_(_rank(scores))


def _kept(x: Tensor, up: Tensor, down: Tensor) -> tuple[Tensor, ...]:
    """Rooms for prepared pictures, hidden numbers and scores, kept between calls and written before they are read."""
    key = (x.device, x.shape, up.shape, down.shape)
    if key not in _rooms:
        _rooms[key] = tuple(up.new_zeros(x.shape[0], width) for width in (x.shape[1], up.shape[1], down.shape[1]))
    return _rooms[key]
