"""Tokens to experts and back: each token goes through two experts' layers, and experts are not equally popular.

x [tokens, d] float32; expert [tokens, 2] int64, 1 to 16, log-uniform, so that expert 1 gets about a quarter of the choices and
expert 16 a fiftieth; gate [tokens, 2] float32 in [0, 1). Weights: up [16, d, h], down [16, h, d]. y [tokens, d] is the sum over
a token's two choices of gate * (relu(x @ up[e]) @ down[e]). One call must read the weights, 128 * d * h bytes, and do
8 * tokens * d * h operations. expert is what a router has said; here it is data, new in every call.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None

ROWS = 32
"""Tokens of one expert in a tile of the Triton kernel."""


def reference(x: Tensor, expert: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """An expert at a time, over all tokens with a gate of 0 where it was not chosen, in float64."""
    y = torch.zeros_like(x)
    for e in range(up.shape[0]):
        chosen = torch.where(expert == e + 1, gate, 0).sum(dim=1, keepdim=True)
        y += chosen * (torch.relu(x @ up[e]) @ down[e])
    return y


def by_mask(x: Tensor, expert: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """A loop over experts: find its tokens, compute, add into the answer. What several published models do."""
    y.zero_()
    for e in range(up.shape[0]):
        token, choice = torch.where(expert == e + 1)
        y.index_add_(0, token, torch.relu(x[token] @ up[e]) @ down[e] * gate[token, choice].unsqueeze(1))


def sorted_once(x: Tensor, expert: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """One sort packs the tokens by expert; the loop then takes slices. One wait for the counts instead of one an expert."""
    order, counts = _packing(expert, up.shape[0])
    made = torch.empty(order.shape[0], x.shape[1], dtype=x.dtype, device=x.device)
    packed, start = x[order // 2], 0
    for e, count in enumerate(counts.tolist()):
        part = slice(start, start + count)
        torch.mm(torch.relu(packed[part] @ up[e]), down[e], out=made[part])
        start += count
    _unpack(made, order, gate, y)


def to_capacity(x: Tensor, expert: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """As sorted_once, with every expert padded to the most popular one, so that two batched products do it all."""
    order, counts = _packing(expert, up.shape[0])
    chosen = expert.flatten()[order] - 1
    place = torch.arange(order.shape[0], device=x.device) - (counts.cumsum(0) - counts)[chosen]
    room = x.new_zeros(up.shape[0], int(counts.max()), x.shape[1])
    room[chosen, place] = x[order // 2]
    made = torch.bmm(torch.relu_(torch.bmm(room, up)), down)
    _unpack(made[chosen, place], order, gate, y)


def every_expert(x: Tensor, expert: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """All experts for all tokens, weighted with the gates: eight times the operations, no routing and no wait at all."""
    weight = x.new_zeros(x.shape[0], up.shape[0] + 1).scatter_add_(1, expert, gate)[:, 1:]
    hidden = torch.relu_(torch.matmul(x, up)) * weight.t().unsqueeze(2)
    torch.mm(hidden.transpose(0, 1).flatten(1), down.flatten(0, 1), out=y)


def triton_tiles(x: Tensor, expert: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:
    """Packed as sorted_once; tiles of 32 tokens find their expert on the device, so the host never waits. CUDA only."""
    order, counts = _packing(expert, up.shape[0])
    made = x.new_empty(order.shape[0], x.shape[1])
    hidden = x.new_empty(order.shape[0], up.shape[2])
    _launch(x, up, hidden, order // 2, counts, relu=True)
    _launch(hidden, down, made, torch.arange(order.shape[0], device=x.device), counts, relu=False)
    _unpack(made, order, gate, y)


def _packing(expert: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """The choices in order of their expert, and how many each expert has; both stay on the device."""
    return torch.argsort(expert.flatten(), stable=True), (
        expert.view(-1, 1) == torch.arange(1, experts + 1, device=expert.device)
    ).sum(0)


def _unpack(made: Tensor, order: Tensor, gate: Tensor, y: Tensor) -> None:
    """Each token's two results back in its place, gated and added, without atomic additions."""
    back = torch.empty_like(made)
    back[order] = made
    torch.bmm(gate.unsqueeze(1), back.view(y.shape[0], 2, -1), out=y.unsqueeze(1))


if triton is not None:

    @triton.jit
    def expert_kernel(
        a_ptr, w_ptr, c_ptr, row_ptr, counts_ptr, k, n,
        EXPERTS: tl.constexpr, RELU: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
    ):  # fmt: skip
        """c[i] = a[row[i]] @ w[e] for ROWS neighbours of one expert; program (tile, block of columns). Tiles of all experts
        are numbered in a row, so a program finds its expert among the sums of their numbers of tiles."""
        e = tl.arange(0, EXPERTS)
        counts = tl.load(counts_ptr + e)
        tiles = (counts + ROWS - 1) // ROWS
        past = tl.cumsum(tiles, axis=0)
        tile = tl.program_id(0)
        mine = tl.sum((past <= tile).to(tl.int32), axis=0)
        if mine < EXPERTS:
            before = tl.sum(tl.where(e < mine, tiles, 0), axis=0)
            first = tl.sum(tl.where(e < mine, counts, 0), axis=0)
            i = (tile - before) * ROWS + tl.arange(0, ROWS)
            valid = i < tl.sum(tl.where(e == mine, counts, 0), axis=0)
            row = tl.load(row_ptr + first + i, mask=valid, other=0)
            column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
            for start in range(0, k, DEPTH):
                at = start + tl.arange(0, DEPTH)
                a = tl.load(a_ptr + row[:, None] * k + at[None, :], mask=valid[:, None] & (at < k)[None, :], other=0.0)
                inside = (at < k)[:, None] & (column < n)[None, :]
                w = tl.load(w_ptr + (mine.to(tl.int64) * k + at)[:, None] * n + column[None, :], mask=inside, other=0.0)
                total = tl.dot(a, w, total, input_precision="ieee")
            if RELU:
                total = tl.maximum(total, 0.0)
            to = (first + i)[:, None] * n + column[None, :]
            tl.store(c_ptr + to, total, mask=valid[:, None] & (column < n)[None, :])


def _launch(a: Tensor, w: Tensor, c: Tensor, row: Tensor, counts: Tensor, relu: bool) -> None:
    """Enough programs for any split over the experts: at worst each has one tile that is not full."""
    experts, k, n = w.shape
    grid = (triton.cdiv(c.shape[0], ROWS) + experts, triton.cdiv(n, 64))
    expert_kernel[grid](a, w, c, row, counts, k, n, EXPERTS=experts, RELU=relu, ROWS=ROWS, COLUMNS=64, DEPTH=32)
