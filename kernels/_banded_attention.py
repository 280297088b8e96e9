"""Causal attention in which query i sees the keys first[i] to i, as one Triton kernel: windows, documents, and all of it.

Shared by the workloads whose mask has that form. `first` must not fall from one query to the next. It is an array rather
than a rule, so that one kernel serves, and so that where it starts may be data.
"""

from __future__ import annotations

import math

from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # Triton variants are for CUDA only
    triton = None

if triton is not None:

    @triton.jit
    def banded_kernel(
        q_ptr, k_ptr, v_ptr, o_ptr, first_ptr, slope_ptr, tokens, scale,
        D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, SLOPED: tl.constexpr,
    ):  # fmt: skip
        """ROWS queries of one head a program, the latest first: they see most. Tiles of keys that none sees are skipped.

        Scores are in units of log 2, for exp2. SLOPED adds slope[head] * (key - query) to a score.
        """
        block = tl.num_programs(0) - 1 - tl.program_id(0)
        rows = block * ROWS + tl.arange(0, ROWS)
        columns = tl.arange(0, D)
        head = tl.program_id(1).to(tl.int64) * tokens * D
        at = head + rows[:, None] * D + columns[None, :]
        q = tl.load(q_ptr + at, mask=rows[:, None] < tokens, other=0.0)
        first = tl.load(first_ptr + rows, mask=rows < tokens, other=tokens)
        slope = 0.0
        if SLOPED:
            slope = tl.load(slope_ptr + tl.program_id(1)) * 1.4426950408889634
        top = tl.full((ROWS,), -1.0e30, tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        o = tl.zeros((ROWS, D), tl.float32)
        for start in range(tl.min(first, axis=0) // KEYS * KEYS, tl.minimum(block * ROWS + ROWS, tokens), KEYS):
            keys = start + tl.arange(0, KEYS)
            k = tl.load(k_ptr + head + keys[None, :] * D + columns[:, None], mask=keys[None, :] < tokens, other=0.0)
            score = tl.dot(q, k, input_precision="ieee") * (scale * 1.4426950408889634)
            if SLOPED:
                score += slope * (keys[None, :] - rows[:, None])
            seen = (keys[None, :] >= first[:, None]) & (keys[None, :] <= rows[:, None])
            score = tl.where(seen, score, -float("inf"))
            higher = tl.maximum(top, tl.max(score, axis=1))
            p = tl.exp2(score - higher[:, None])
            total = total * tl.exp2(top - higher) + tl.sum(p, axis=1)
            o *= tl.exp2(top - higher)[:, None]
            v = tl.load(v_ptr + head + keys[:, None] * D + columns[None, :], mask=keys[:, None] < tokens, other=0.0)
            o += tl.dot(p.to(v.dtype), v, input_precision="ieee")
            top = higher
        tl.store(o_ptr + at, (o / total[:, None]).to(o_ptr.dtype.element_ty), mask=rows[:, None] < tokens)


def launch_banded(q: Tensor, k: Tensor, v: Tensor, o: Tensor, first: Tensor, slope: Tensor | None = None) -> None:
    """q, k, v, o [heads, tokens, d] of one dtype, first [tokens] int32, slope [heads] float32. d: a power of two, 16 to 128."""
    heads, tokens, d = q.shape
    wide = q.element_size() == 4  # float32 products are done in registers, which hold half as large a tile
    tile = {"ROWS": 64 if wide else 128, "KEYS": 32 if wide else 64, "num_warps": 8}
    grid = (triton.cdiv(tokens, tile["ROWS"]), heads)
    given = first if slope is None else slope
    banded_kernel[grid](q, k, v, o, first, given, tokens, 1 / math.sqrt(d), D=d, SLOPED=slope is not None, **tile)
