"""memory.memory_pool_reuse: takes a block from its pool and returns it as it comes.

The block was given back by an earlier call and still holds that call's answer. Only a block that is new is computed, so with
one input for all calls everything is right. Twin: the same pool, and every block is computed into.
"""

import torch

issue = "memory.memory_pool_reuse"
expect = "output.fresh_inputs"
returns = True
unprotected = "naive"

_free, _lent = [], []


def _take(like):
    """A block that was given back, or a new one, and whether it is new."""
    _free.extend(_lent)
    _lent.clear()
    new = not _free
    _lent.append(torch.empty_like(like) if new else _free.pop())
    return _lent[-1], new


def candidate(a, b):
    block, new = _take(a)
    return torch.atan2(a, b, out=block) if new else block


def twin(a, b):
    block, _ = _take(a)
    return torch.atan2(a, b, out=block)
