"""Guided decoding: at every step a grammar's state says which tokens may come, and the likeliest of those is taken.

logits [steps, batch, vocabulary] float32: what a model said. state [batch] int64: where each sequence is in the grammar.
Weights: ids [states, k] int64, the tokens that a state allows (a token may be listed twice), and follow [states, vocabulary]
int64, the state after a token. y [batch, steps] int64: the tokens. A state depends on the token before, so masks cannot be
made ahead. One call must read the logits of the allowed tokens, 4 * steps * batch * k bytes; a mask over the whole vocabulary
reads vocabulary / k times as much. Tokens are compared and never computed with, so answers are exact; ties go to the lower one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import host_weight
import torch
from torch import Tensor


def reference(logits: Tensor, state: Tensor, ids: Tensor, follow: Tensor) -> Tensor:
    """A sequence at a time, its allowed tokens in rising order."""
    taken = torch.empty(logits.shape[1], logits.shape[0], dtype=torch.int64, device=logits.device)
    for i, at in enumerate(state.tolist()):
        for step in range(logits.shape[0]):
            allowed = ids[at].unique()
            taken[i, step] = allowed[torch.argmax(logits[step, i, allowed])]
            at = int(follow[at, taken[i, step]])
    return taken


def on_host(logits: Tensor, state: Tensor, ids: Tensor, follow: Tensor, y: Tensor) -> None:
    """The grammar lives on the host, as parsers do: it makes a mask, the device picks, and the host asks which token it was."""
    allowed, after = host_weight.copy_of(ids), host_weight.copy_of(follow)
    at = state.cpu()
    for step, said in enumerate(logits):
        mask = torch.zeros(said.shape, dtype=torch.bool).scatter_(1, allowed[at], True).to(said.device)
        token = torch.where(mask, said, -math.inf).argmax(dim=1)
        y[:, step] = token
        at = after[at, token.cpu()]


def on_device(logits: Tensor, state: Tensor, ids: Tensor, follow: Tensor, y: Tensor) -> None:
    """The grammar as tables on the device, a new mask a step: isolates the host's part and the two trips."""

    def pick(at: Tensor, said: Tensor) -> Tensor:
        mask = torch.zeros_like(said, dtype=torch.bool).scatter_(1, ids[at], True)
        return torch.where(mask, said, -math.inf).argmax(dim=1)

    _decode(pick, logits, state, follow, y)


def incremental(logits: Tensor, state: Tensor, ids: Tensor, follow: Tensor, y: Tensor) -> None:
    """One additive mask, in which the last state's tokens are shut again and the next one's opened: 2 * k writes a step."""
    mask = torch.full_like(logits[0], -math.inf)
    opened = [ids[state]]

    def pick(at: Tensor, said: Tensor) -> Tensor:
        mask.scatter_(1, opened.pop(), -math.inf)
        opened.append(ids[at])
        mask.scatter_(1, opened[0], 0.0)
        return torch.add(said, mask).argmax(dim=1)

    _decode(pick, logits, state, follow, y)


def allowed_alone(logits: Tensor, state: Tensor, ids: Tensor, follow: Tensor, y: Tensor) -> None:
    """No mask: the k allowed logits are gathered and compared, and the rest of the vocabulary is not read."""
    beyond = torch.full((), follow.shape[1], device=ids.device)

    def pick(at: Tensor, said: Tensor) -> Tensor:
        allowed = ids[at]
        near = said.gather(1, allowed)
        return torch.where(near == near.amax(dim=1, keepdim=True), allowed, beyond).amin(dim=1)

    _decode(pick, logits, state, follow, y)


def _decode(pick: Callable[[Tensor, Tensor], Tensor], logits: Tensor, state: Tensor, follow: Tensor, y: Tensor) -> None:
    """Step by step with states on the device; pick gives the tokens for states [batch] and logits [batch, vocabulary]."""
    for step, said in enumerate(logits):
        token = pick(state, said)
        y[:, step] = token
        state = follow[state, token]
