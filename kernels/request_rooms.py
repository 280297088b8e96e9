"""Requests of different lengths through a layer, one behind the other: new memory for each, or rooms that are kept?

x, y [requests, tokens, d], length [requests] int32 from 1 to `tokens`, up [d, h], down [h, d] (weights), float32. The first
length[i] tokens of request i become silu(x up / sqrt(d)) down / sqrt(h) + x, the rest of y is 0. One call must read the tokens
in use and the weights and write y, for 4 * d * h operations a token in use. The h numbers of a token in between are the memory
in question: 4 * tokens * h bytes for the longest request.
"""

from __future__ import annotations

import captured_calls
import torch
from torch import Tensor
from torch.nn.functional import silu

_rooms: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}


def reference(x: Tensor, length: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """All tokens in float64, those beyond a length set to 0."""
    made = silu(x @ up / x.shape[2] ** 0.5) @ down / up.shape[1] ** 0.5 + x
    return torch.where(_inside(x, length), made, 0.0)


def allocated(x: Tensor, length: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A request at a time as the formula reads: five tensors each, of its own length. The host asks once for the lengths."""
    y.zero_()
    for request, made, tokens in zip(x, y, length.tolist(), strict=True):
        used = request[:tokens]
        made[:tokens] = silu(used @ up / x.shape[2] ** 0.5) @ down / up.shape[1] ** 0.5 + used


def in_products(x: Tensor, length: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Scales and sum inside the products, silu in place: one new tensor a request. Isolates the number of tensors."""
    y.zero_()
    for request, made, tokens in zip(x, y, length.tolist(), strict=True):
        _layer(request[:tokens], up, down, x.new_empty(tokens, up.shape[1]), made[:tokens])


def kept_room(x: Tensor, length: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """As in_products, in one room for the longest request, which each uses the beginning of: no allocation is left."""
    room, _ = _kept(x, up)
    y.zero_()
    for request, made, tokens in zip(x, y, length.tolist(), strict=True):
        _layer(request[:tokens], up, down, room[:tokens], made[:tokens])


def padded(x: Tensor, length: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """All requests as one padded batch in a kept room: the host need not know a length. More work, more memory."""
    _, room = _kept(x, up)
    _layer(x.flatten(0, 1), up, down, room, y.flatten(0, 1))
    y.masked_fill_(~_inside(x, length), 0.0)


def graph(x: Tensor, length: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """padded, captured once for each set of addresses; a kept room has an address that a graph can hold. CUDA only."""
    captured_calls.replay(padded, x, length, up, down, y)


def _inside(x: Tensor, length: Tensor) -> Tensor:
    return (torch.arange(x.shape[1], device=x.device) < length.unsqueeze(1)).unsqueeze(2)


def _layer(x: Tensor, up: Tensor, down: Tensor, room: Tensor, y: Tensor) -> None:
    """The layer on [rows, d] into y, with the numbers in between in `room` [rows, h], whose content does not matter."""
    torch.addmm(room, x, up, beta=0, alpha=x.shape[1] ** -0.5, out=room)
    silu(room, inplace=True)
    torch.addmm(x, room, down, alpha=up.shape[1] ** -0.5, out=y)


def _kept(x: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Rooms for one request of full length and for all of them, kept between calls and written before they are read."""
    key = (x.device, x.shape, up.shape)
    if key not in _rooms:
        requests, tokens, h = *x.shape[:2], up.shape[1]
        _rooms[key] = x.new_zeros(tokens, h), x.new_zeros(requests * tokens, h)
    return _rooms[key]
