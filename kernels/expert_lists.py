"""A layer of experts, two for each token: who finds out which tokens belong to an expert, and how often are they moved?

x, y [n, d], logits [n, e] (the router's), up [e, d, h], down [e, h, d] (weights), float32. A token goes to the experts of its
two highest logits, y = sum of gate * silu(x up / sqrt(d)) down / sqrt(h), gates the softmax of those two. One call must read x,
logits and the weights of every expert that is asked for and write y, for 8 * n * d * h operations in the products.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

TOP = 2
ROWS, COLUMNS, DEPTH = 64, 64, 32
"""A tile of the grouped product: rows of one expert's list, columns of its weight, and the depth of a step."""


def reference(x: Tensor, logits: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Every expert on every token in float64; a gate of 0 where the token was not sent."""
    gate, expert = _routed(logits)
    gates = torch.zeros_like(logits).scatter(1, expert, gate)
    y = torch.zeros_like(x)
    for e in range(up.shape[0]):
        y += gates[:, e : e + 1] * _expert(x, up[e], down[e])
    return y


def masked(x: Tensor, logits: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """An expert at a time looks for its tokens, gathers, works and adds. Reasonable: many published models do just this."""
    gate, expert = _routed(logits)
    y.zero_()
    for e in range(up.shape[0]):
        token, place = torch.where(expert == e)
        if token.numel():
            y.index_add_(0, token, _expert(x[token], up[e], down[e]) * gate[token, place].unsqueeze(1))


def listed(x: Tensor, logits: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """One sort makes all lists, one gather moves all tokens; the host asks once for the lengths. Experts still in turn."""
    gate, expert = _routed(logits)
    order, count = _lists(expert, up.shape[0])
    mine = x[order // TOP]
    made = torch.empty_like(mine)
    for e, (rows, out) in enumerate(zip(mine.split(count.tolist()), made.split(count.tolist()), strict=True)):
        if rows.shape[0]:
            out.copy_(_expert(rows, up[e], down[e]))
    _combine(made, order, gate, y)


def padded(x: Tensor, logits: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Lists of one length, the longest, so that one batched product serves all experts: two launches for the padding's work."""
    gate, expert = _routed(logits)
    order, count = _lists(expert, up.shape[0])
    first = count.cumsum(0) - count
    owner = expert.flatten()[order]
    slot = owner * (longest := int(count.max())) + torch.arange(order.shape[0], device=x.device) - first[owner]
    room = x.new_zeros(up.shape[0] * longest, x.shape[1])
    room[slot] = x[order // TOP]
    made = _expert(room.view(up.shape[0], longest, -1), up, down).flatten(0, 1)
    _combine(made[slot], order, gate, y)


def dense(x: Tensor, logits: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """No lists: every expert on every token, e / 2 times the operations, no wait for the host and no gather."""
    gate, expert = _routed(logits)
    gates = torch.zeros_like(logits).scatter_(1, expert, gate)
    made = _expert(x.expand(up.shape[0], *x.shape), up, down)
    torch.sum(made * gates.t().unsqueeze(2), dim=0, out=y)


def triton_grouped(x: Tensor, logits: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """The lists stay on the device: each product is one launch over all experts, whose programs look up their own list."""
    gate, expert = _routed(logits)
    order, count = _lists(expert, up.shape[0])
    end = count.cumsum(0)
    hidden = x.new_empty(order.shape[0], up.shape[2])
    made = x.new_empty(order.shape[0], x.shape[1])
    launch_group(x, order, end, up, hidden, TOP)
    launch_group(silu(hidden), order, end, down, made, 0)
    _combine(made, order, gate, y)


def _routed(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Gates and expert numbers [n, 2] of each token's two highest logits."""
    best, expert = logits.topk(TOP, dim=1)
    return best.softmax(dim=1), expert


def _expert(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return silu(x @ up / up.shape[-2] ** 0.5) @ down / down.shape[-2] ** 0.5


def _lists(expert: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """Choices (token * 2 + place) ordered by expert, and how many choices each expert has."""
    order = torch.argsort(expert.flatten(), stable=True)
    return order, torch.zeros(experts, dtype=torch.int64, device=expert.device).scatter_add_(
        0, expert.flatten(), torch.ones_like(order)
    )


def _combine(made: Tensor, order: Tensor, gate: Tensor, y: Tensor) -> None:
    """Back into the tokens' order, weighted: each token's two answers lie side by side."""
    placed = torch.empty_like(made)
    placed[order] = made
    torch.sum(placed.view(-1, TOP, y.shape[1]) * gate.unsqueeze(2), dim=1, out=y)


if triton is not None:

    @triton.jit
    def group_kernel(
        x_ptr, order_ptr, end_ptr, w_ptr, y_ptr, k, n, scale, TOP: tl.constexpr,
        ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
    ):  # fmt: skip
        """One tile of one expert's list: y[row] = scale * x[token of row] w[expert]. TOP 0: x lies in the list's order."""
        expert = tl.program_id(2)
        first = tl.load(end_ptr + expert - 1, mask=expert > 0, other=0)
        end = tl.load(end_ptr + expert)
        row = first + tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        if first + tl.program_id(1) * ROWS < end:
            column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
            token = row
            if TOP > 0:
                token = tl.load(order_ptr + row, mask=row < end, other=0) // TOP
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
            for start in range(0, k, DEPTH):
                depth = start + tl.arange(0, DEPTH)
                x_inside = (row[:, None] < end) & (depth[None, :] < k)
                x = tl.load(x_ptr + token[:, None] * k + depth[None, :], mask=x_inside, other=0.0)
                w_at = w_ptr + (expert.to(tl.int64) * k + depth[:, None]) * n + column[None, :]
                w = tl.load(w_at, mask=(depth[:, None] < k) & (column[None, :] < n), other=0.0)
                total = tl.dot(x, w, total, input_precision="ieee")
            tl.store(
                y_ptr + row[:, None] * n + column[None, :], total * scale, mask=(row[:, None] < end) & (column[None, :] < n)
            )


def launch_group(x: Tensor, order: Tensor, end: Tensor, w: Tensor, y: Tensor, top: int) -> None:
    """group_kernel with tiles for the worst case, all choices at one expert: a program past its list's end returns at once."""
    experts, k, n = w.shape
    grid = (triton.cdiv(n, COLUMNS), triton.cdiv(order.shape[0], ROWS), experts)
    tile = {"ROWS": ROWS, "COLUMNS": COLUMNS, "DEPTH": DEPTH}
    group_kernel[grid](x, order, end, w, y, k, n, k**-0.5, TOP=top, **tile)
