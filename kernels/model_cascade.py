"""Requests for two models: easy ones go to a small model, hard ones to a large one. Who is put into a batch with whom?

x, y [n, d], score [n] from 0 to 1 (the router's; above 0.75 is hard), small [d, d], up [layers, d, h], down [layers, h, d]
(weights), float32. The small model is x + tanh(x small / sqrt(d)), the large one `layers` times
x + tanh(x up / sqrt(d)) down / sqrt(h). One call must read x, score and both models and write y; with a quarter of the
requests hard that is n * d * (1.5 * d + layers * h) operations.
"""

from __future__ import annotations

import captured_calls
import torch
from torch import Tensor

HARD = 0.75


def reference(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Both models on every request in float64."""
    return torch.where((score > HARD).unsqueeze(1), _large(x, up, down), _small(x, small))


def each_request(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A request at a time, to the model it was routed to. Reasonable: a handler sees one request. One wait for the scores."""
    for i, value in enumerate(score.tolist()):
        request = x[i : i + 1]
        y[i] = (_large(request, up, down) if value > HARD else _small(request, small))[0]


def pools(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A pool for each model: its requests' numbers, one gather, batch and scatter. The pools' sizes stop the host twice."""
    hard = score > HARD
    for pool, model in ((torch.nonzero(~hard)[:, 0], _small), (torch.nonzero(hard)[:, 0], _large)):
        if pool.numel():
            y[pool] = model(x[pool], small) if model is _small else model(x[pool], up, down)


def one_sort(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """The pools as two ends of one sorted batch: one gather, one scatter, one wait; isolates moving the requests."""
    hard = score > HARD
    order = torch.argsort(hard.to(torch.uint8), stable=True)
    easy = x.shape[0] - int(hard.sum())
    sorted_x = x[order]
    parts = []
    if easy:
        parts.append(_small(sorted_x[:easy], small))
    if easy < x.shape[0]:
        parts.append(_large(sorted_x[easy:], up, down))
    y[order] = torch.cat(parts)


def both_models(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Both models on everything and a choice at the end: four times the large model's work, no wait and no gather."""
    torch.where((score > HARD).unsqueeze(1), _large(x, up, down), _small(x, small), out=y)


def small_for_all(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """The cheap model on everything, the dear one on its pool alone: one gather less, one wait."""
    torch.add(x, torch.tanh(x @ small / x.shape[1] ** 0.5), out=y)
    pool = torch.nonzero(score > HARD)[:, 0]
    if pool.numel():
        y[pool] = _large(x[pool], up, down)


def graph(x: Tensor, score: Tensor, small: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """both_models captured once for each set of addresses and replayed: its shapes do not depend on the data. CUDA only."""
    captured_calls.replay(both_models, x, score, small, up, down, y)


def _small(x: Tensor, small: Tensor) -> Tensor:
    return x + torch.tanh(x @ small / x.shape[1] ** 0.5)


def _large(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    for wide, narrow in zip(up, down, strict=True):
        x = x + torch.tanh(x @ wide / wide.shape[0] ** 0.5) @ narrow / wide.shape[1] ** 0.5
    return x
