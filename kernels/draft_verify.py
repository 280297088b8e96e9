"""Speculative decoding: a table guesses some tokens ahead, and the model checks all guesses in one pass.

prompt [4] int64, y [steps] int64: tokens below `vocabulary`. Weights: bigram [vocabulary, vocabulary] float32, the draft
model, and embed [vocabulary, d], up [4 * d, h], down [h, vocabulary] float32 of small whole numbers. The model's next token is
the highest of bigram[last] plus a two-layer network of the last four tokens; bigram[last] alone is right for most tokens.
All sums are whole numbers below 2**24, so they are exact in any order and in any batch, and a guess is accepted or it is not.
A token needs 4 * h * (4 * d + vocabulary) bytes of weights. Checking several tokens reads them once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CONTEXT = 4


def reference(prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Thirty-two tokens, one after another, in float64. Ties go to the lower token."""
    tokens = prompt.tolist()
    for _ in range(32):
        window = torch.tensor([tokens[-CONTEXT:]], device=prompt.device)
        tokens.append(int(_says(window, bigram, embed, up, down)[0]))
    return torch.tensor(tokens[CONTEXT:], device=prompt.device)


def one_by_one(prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A pass of the model a token; tokens stay on the device and the host never waits. What decoding is by definition."""
    tokens = torch.cat((prompt, torch.empty_like(y)))
    for t in range(y.shape[0]):
        tokens[t + CONTEXT] = _says(tokens[None, t : t + CONTEXT], bigram, embed, up, down)[0]
    y.copy_(tokens[CONTEXT:])


def two_ahead(prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Two guesses, checked with the token after them."""
    _speculate(2, prompt, bigram, embed, up, down, y)


def four_ahead(prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Four guesses: fewer passes, and more guesses that are thrown away."""
    _speculate(4, prompt, bigram, embed, up, down, y)


def twelve_ahead(prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Twelve guesses: rarely all right, and each one costs three launches."""
    _speculate(12, prompt, bigram, embed, up, down, y)


def never_right(prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Four guesses by a draft that takes the lowest entry of the row: what a bad draft costs. The answer is the same."""
    _speculate(4, prompt, bigram, embed, up, down, y, worst=True)


def _speculate(
    ahead: int, prompt: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor, y: Tensor, worst: bool = False
) -> None:
    """Guess, check, keep the guesses before the first wrong one, and the model's own token in its place."""
    tokens, t, guess = torch.cat((prompt, torch.empty_like(y))), CONTEXT, torch.argmin if worst else torch.argmax
    while t < tokens.shape[0]:
        guesses = min(ahead, tokens.shape[0] - t - 1)
        for i in range(t, t + guesses):
            tokens[i] = guess(bigram[tokens[i - 1]])
        windows = tokens[t - CONTEXT : t + guesses].unfold(0, CONTEXT, 1)
        said = _says(windows, bigram, embed, up, down)
        kept = int((said[:guesses] == tokens[t : t + guesses]).cumprod(0).sum())  # the host has to know how far it got
        tokens[t : t + kept + 1] = said[: kept + 1]
        t += kept + 1
    y.copy_(tokens[CONTEXT:])


def _says(windows: Tensor, bigram: Tensor, embed: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The model's next token for each window [n, 4]. Scales are powers of two, which keeps whole numbers whole."""
    width, h = up.shape
    spread = 2.0 ** round(math.log2(math.sqrt(width) / 2))
    hidden = (embed[windows].flatten(1) @ up).div_(spread).floor_().clamp_(0, 7)
    weight = 32 * 2.0 ** round(math.log2(math.sqrt(h)))
    return (bigram[windows[:, -1]] * weight).floor_().add_(hidden @ down).argmax(dim=1)
