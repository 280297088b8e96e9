"""Triton kernels of chapter 4."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "gradient_flatten.py:pack_kernel": [
        kernel(
            "ch04_gradient_flatten",
            "triton_pack",
            {"d": 29},
            "gq_ptr:*fp32 gb_ptr:*fp32 gu_ptr:*fp32 gs_ptr:*fp32 flat_ptr:*fp32 "
            "first:i32 second:i32 third:i32 n:i32 scale:fp32",
            {"BLOCK": 1024},
        )
    ],
    "shard_sum.py:shard_kernel": [
        kernel(
            "ch04_shard_sum",
            "triton_registers",
            {"s": 5, "n": 3001},
            "shards_ptr:*fp32 out_ptr:*fp32 n:i32",
            {"SHARDS": 5, "BLOCK": 1024},
        )
    ],
}
