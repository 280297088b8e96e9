"""Triton kernels that do nothing but move memory. Imported where they are launched, since Triton may be missing.

Elements are int32, and their number is a multiple of BLOCK. In pass p, program i works on block (i + 7919 * p) % programs: each
pass covers everything, and no program meets a block again that its own L1 still holds.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def copy_kernel(source_ptr, target_ptr, passes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """target = source, `passes` times over."""
    programs = tl.num_programs(0)
    for p in range(passes):
        block = (tl.program_id(0) + 7919 * p) % programs
        at = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        tl.store(target_ptr + at, tl.load(source_ptr + at, cache_modifier=".cg"))


@triton.jit
def read_kernel(source_ptr, target_ptr, passes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums up what the passes read and writes the sums of a block once, so that nothing can be left out."""
    programs = tl.num_programs(0)
    total = tl.zeros([BLOCK], dtype=tl.int32)
    for p in range(passes):
        block = (tl.program_id(0) + 7919 * p) % programs
        at = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        total += tl.load(source_ptr + at, cache_modifier=".cg")
    tl.store(target_ptr + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK), total)


@triton.jit
def stream_kernel(source_ptr, target_ptr, passes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums up `passes` neighbouring blocks that no other program reads, and writes the sums of a block once."""
    first = tl.program_id(0).to(tl.int64) * passes
    total = tl.zeros([BLOCK], dtype=tl.int32)
    for p in range(passes):
        total += tl.load(source_ptr + (first + p) * BLOCK + tl.arange(0, BLOCK), cache_modifier=".cg")
    tl.store(target_ptr + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK), total)
