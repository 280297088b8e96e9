"""Loss of each row against its target: loss[i] = log(sum over j of exp(logits[i, j])) - logits[i, target[i]].

logits [rows, vocabulary] float32, target [rows] int64, loss [rows] float32. One call must read the logits once,
4 * rows * vocabulary bytes. With log-probabilities in memory it moves three or four times as much, to look one number of
each row up in them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

CHUNK_ELEMENTS = 65536
"""Elements of a block of rows: 256 KiB, which is still in a second-level cache when it is read again."""


def reference(logits: Tensor, target: Tensor) -> Tensor:
    """The formula in float64."""
    return torch.logsumexp(logits, dim=1) - logits.gather(1, target.unsqueeze(1)).squeeze(1)


def log_softmax(logits: Tensor, target: Tensor, loss: Tensor) -> None:
    """Log-probabilities, then the target's: how the definition reads, with the library's fused log_softmax."""
    torch.neg(torch.log_softmax(logits, dim=1).gather(1, target.unsqueeze(1)).squeeze(1), out=loss)


def logsumexp(logits: Tensor, target: Tensor, loss: Tensor) -> None:
    """No log-probabilities: a sum a row minus the target's logit. torch's logsumexp has passes and a temporary of its own."""
    torch.logsumexp(logits, dim=1, out=loss)
    loss.sub_(logits.gather(1, target.unsqueeze(1)).squeeze(1))


def row_blocks(logits: Tensor, target: Tensor, loss: Tensor) -> None:
    """As log_softmax, a few rows at a time, so that what is made of them is looked up in the cache. CPU only."""
    step = max(1, CHUNK_ELEMENTS // logits.shape[1])
    for start in range(0, logits.shape[0], step):
        log_softmax(logits[start : start + step], target[start : start + step], loss[start : start + step])


def library(logits: Tensor, target: Tensor) -> Tensor:
    """What a user would call. It returns its output, so the runner copies it, inside the timing."""
    return torch.nn.functional.cross_entropy(logits, target, reduction="none")


def compiled(logits: Tensor, target: Tensor, loss: Tensor) -> None:
    """The first version through torch.compile. CUDA only: a CPU compiles for long."""
    _compiled()(logits, target, loss)


@functools.cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor], None]:
    return torch.compile(log_softmax, dynamic=False)


if triton is not None:

    @triton.jit
    def loss_kernel(logits_ptr, target_ptr, loss_ptr, vocabulary, BLOCK: tl.constexpr):
        """One row a program, read once: every lane keeps its own maximum and sum, and they are joined at the end."""
        row = tl.program_id(0)
        start = row.to(tl.int64) * vocabulary
        high = tl.full((BLOCK,), -1.0e30, tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        for offset in range(0, vocabulary, BLOCK):
            at = offset + tl.arange(0, BLOCK)
            x = tl.load(logits_ptr + start + at, mask=at < vocabulary, other=-float("inf"))
            new = tl.maximum(high, x)
            total = total * tl.exp(high - new) + tl.exp(x - new)
            high = new
        highest = tl.max(high, axis=0)
        everything = tl.sum(total * tl.exp(high - highest), axis=0)
        wanted = tl.load(logits_ptr + start + tl.load(target_ptr + row))
        tl.store(loss_ptr + row, highest + tl.log(everything) - wanted)


def triton_online(logits: Tensor, target: Tensor, loss: Tensor) -> None:
    """One launch, every logit read once."""
    rows, vocabulary = logits.shape
    loss_kernel[(rows,)](logits, target, loss, vocabulary, BLOCK=4096, num_warps=8)
