"""Decoding for clients who read along: how often should the host fetch the tokens and turn them into text?

prompt [batch] int64: a token of each sequence. Weights: embed [vocabulary, d] and head [d, vocabulary], float32 of small whole
numbers, and pieces [vocabulary, 8] uint8, a token's text; its copy in host memory is made once, see host_weight.py. A step is
state = floor(state / 2) + embed[token], then the highest of state @ head is the next token. Its sums are whole numbers below
2**24 and exact in any order. y [batch, steps, 8] uint8: the text of all steps, put together on the host, and in all variants
brought to the device at the end. A step reads 4 * d * vocabulary bytes; the text is a few bytes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import host_weight
import torch
from torch import Tensor

EVERY = 8

_pinned: dict[tuple[int, ...], Tensor] = {}
_clerk: list[ThreadPoolExecutor] = []


def reference(prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor) -> Tensor:
    """Sixteen tokens of each sequence in float64, and their text. Ties go to the lower token."""
    token, state, text = prompt, torch.zeros(prompt.shape[0], embed.shape[1], dtype=embed.dtype, device=embed.device), []
    for _ in range(16):
        state = torch.floor(state / 2) + embed[token]
        token = torch.argmax(state @ head, dim=1)
        text.append(pieces[token])
    return torch.stack(text, dim=1)


def each_step(prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor, y: Tensor) -> None:
    """The host fetches every step's tokens before it starts the next: a client sees each token as soon as there is one."""
    _fetched_every(1, prompt, embed, head, pieces, y)


def every_eighth(prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor, y: Tensor) -> None:
    """Eight steps' tokens at a time: an eighth of the waits, and text that comes in bursts."""
    _fetched_every(EVERY, prompt, embed, head, pieces, y)


def at_end(prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor, y: Tensor) -> None:
    """All tokens after the last step: what an offline batch does, and as little as the host can do."""
    _fetched_every(y.shape[1], prompt, embed, head, pieces, y)


def one_behind(prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor, y: Tensor) -> None:
    """The host starts step t + 1 and then waits for step t's tokens, so the device always has work. CUDA only."""
    made, text = _tokens(prompt, y)
    key = tuple(made.shape)
    if key not in _pinned:
        _pinned[key] = torch.empty(key, dtype=made.dtype, pin_memory=True)
    landing, done, state = _pinned[key], [torch.cuda.Event() for _ in range(key[0])], _start(prompt, embed)
    for t in range(1, key[0]):
        _step(t, made, state, embed, head)
        landing[t].copy_(made[t], non_blocking=True)
        done[t].record()
        if t > 1:
            done[t - 1].synchronize()
            _write(t - 1, t, landing, pieces, text)
    done[-1].synchronize()
    _write(key[0] - 1, key[0], landing, pieces, text)
    y.copy_(text)


def by_thread(prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor, y: Tensor) -> None:
    """A second thread fetches each step's tokens and writes their text; the first one only starts steps. On a CPU it needs a
    core to spare."""
    if not _clerk:
        _clerk.append(ThreadPoolExecutor(1, thread_name_prefix="clerk"))
    made, text = _tokens(prompt, y)
    state, written = _start(prompt, embed), []
    for t in range(1, made.shape[0]):
        _step(t, made, state, embed, head)
        ready = torch.cuda.current_stream().record_event() if y.is_cuda else None
        written.append(_clerk[0].submit(_fetch, t, made, pieces, text, ready))
    for task in written:
        task.result()
    y.copy_(text)


def _fetched_every(steps: int, prompt: Tensor, embed: Tensor, head: Tensor, pieces: Tensor, y: Tensor) -> None:
    made, text = _tokens(prompt, y)
    state, first = _start(prompt, embed), 1
    for t in range(1, made.shape[0]):
        _step(t, made, state, embed, head)
        if t + 1 - first == steps or t + 1 == made.shape[0]:
            _write(first, t + 1, made[first : t + 1].cpu(), pieces, text, shift=first)
            first = t + 1
    y.copy_(text)


def _tokens(prompt: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Room for the prompt's and all steps' tokens on the device, [1 + steps, batch], and for the text on the host."""
    made = torch.empty(1 + y.shape[1], prompt.shape[0], dtype=prompt.dtype, device=prompt.device)
    made[0] = prompt
    return made, torch.empty(y.shape, dtype=y.dtype)


def _start(prompt: Tensor, embed: Tensor) -> Tensor:
    return embed.new_zeros(prompt.shape[0], embed.shape[1])


def _step(t: int, made: Tensor, state: Tensor, embed: Tensor, head: Tensor) -> None:
    """Step t, from the tokens of the step before; nothing here waits."""
    state.div_(2).floor_().add_(embed[made[t - 1]])
    torch.argmax(state @ head, dim=1, out=made[t])


def _write(first: int, last: int, tokens: Tensor, pieces: Tensor, text: Tensor, shift: int = 0) -> None:
    """The text of steps first to last - 1, whose tokens are on the host, in rows from first - shift."""
    rows = host_weight.copy_of(pieces)[tokens[first - shift : last - shift]]
    text[:, first - 1 : last - 1] = rows.transpose(0, 1)


def _fetch(t: int, made: Tensor, pieces: Tensor, text: Tensor, ready: torch.cuda.Event | None) -> None:
    """One step's text, on the clerk's own stream: the default one would wait for the steps after it as well."""
    if ready is None:
        _write(t, t + 1, made, pieces, text)
        return
    with torch.cuda.stream(torch.cuda.Stream(made.device)):
        torch.cuda.current_stream().wait_event(ready)
        _write(t, t + 1, made[t : t + 1].cpu(), pieces, text, shift=t)
