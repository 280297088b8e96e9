"""Requests of very different lengths through a decoder with a few slots: when may the next request come in?

prompt [requests, d] float32, length [requests] int32, at least 1: steps of a request. w [d, d] (a weight), y [requests, d].
A step is x = tanh(prompt + x @ w * 0.4 / sqrt(d)), from x = prompt, and y is the sum of a request's x. The factor keeps w a
contraction, so roundings do not grow. One call must read the weight for each step of the longest request and do
2 * d * d operations for each step of each request; steps of a slot that nobody needs come on top. The host reads the
lengths, as a scheduler reads which requests have ended.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SLOTS = 8
"""Requests that are decoded together; what fits into the memory for their caches."""


def reference(prompt: Tensor, length: Tensor, w: Tensor) -> Tensor:
    """All requests to the end of the longest, in float64; a request counts until its own."""
    x, total = prompt, torch.zeros_like(prompt)
    for t in range(int(length.max())):
        x = torch.tanh(prompt + x @ w * _scale(w))
        total = total + torch.where((t < length).unsqueeze(1), x, 0)
    return total


def static(prompt: Tensor, length: Tensor, w: Tensor, y: Tensor) -> None:
    """Batches of eight in order of arrival, each until its longest is done. One decision a batch, and every batch regular."""
    for start in range(0, prompt.shape[0], SLOTS):
        part = slice(start, start + SLOTS)
        y[part] = _whole_batch(prompt[part], length[part], w)


def by_length(prompt: Tensor, length: Tensor, w: Tensor, y: Tensor) -> None:
    """Static batches of neighbours in length. Lengths must be known beforehand, which a sampled end is not."""
    for part in torch.argsort(length).split(SLOTS):
        y[part] = _whole_batch(prompt[part], length[part], w)


def shrinking(prompt: Tensor, length: Tensor, w: Tensor, y: Tensor) -> None:
    """Static batches that drop who is done, and take nobody in: isolates the padding from the empty slots."""
    steps = length.tolist()
    for start in range(0, prompt.shape[0], SLOTS):
        _decode(list(range(start, min(start + SLOTS, prompt.shape[0]))), steps, prompt, w, y)


def continuous(prompt: Tensor, length: Tensor, w: Tensor, y: Tensor) -> None:
    """A slot takes the next request as soon as its own is done, while the others go on."""
    _decode(list(range(prompt.shape[0])), length.tolist(), prompt, w, y)


def longest_first(prompt: Tensor, length: Tensor, w: Tensor, y: Tensor) -> None:
    """As continuous, long requests first, so that none is alone at the end. Lengths must be known beforehand."""
    steps = length.tolist()
    _decode(sorted(range(len(steps)), key=steps.__getitem__, reverse=True), steps, prompt, w, y)


def _scale(w: Tensor) -> float:
    return 0.4 / math.sqrt(w.shape[0])


def _whole_batch(prompt: Tensor, length: Tensor, w: Tensor) -> Tensor:
    """The sums of a static batch: all rows at every step, those that are done with weight 0."""
    longest = int(length.max())
    alive = (torch.arange(longest, device=w.device).view(-1, 1, 1) < length.view(-1, 1)).to(w.dtype)
    x, total = prompt, torch.zeros_like(prompt)
    for t in range(longest):
        x = torch.addmm(prompt, x, w, alpha=_scale(w)).tanh_()
        total.addcmul_(x, alive[t])
    return total


def _decode(waiting: list[int], steps: list[int], prompt: Tensor, w: Tensor, y: Tensor) -> None:
    """Decodes requests in the order given, SLOTS at a time; without successors the batch shrinks."""
    running, coming = waiting[:SLOTS], iter(waiting[SLOTS:])
    given, left = prompt[running], [steps[request] for request in running]
    x, total = given.clone(), torch.zeros_like(given)
    while running:
        until = min(left)  # the scheduler has nothing to decide before then
        for _ in range(until):
            x = torch.addmm(given, x, w, alpha=_scale(w)).tanh_()
            total.add_(x)
        left = [steps_left - until for steps_left in left]
        for slot in [slot for slot, steps_left in enumerate(left) if steps_left == 0]:
            y[running[slot]] = total[slot]
            running[slot] = next(coming, -1)
            if running[slot] >= 0:
                left[slot] = steps[running[slot]]
                given[slot] = x[slot] = prompt[running[slot]]
                total[slot] = 0
        if -1 in running:
            kept = [slot for slot, request in enumerate(running) if request >= 0]
            running, left = [running[slot] for slot in kept], [left[slot] for slot in kept]
            given, x, total = given[kept], x[kept], total[kept]
