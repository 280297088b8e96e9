"""Triton kernels of chapter 4."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
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
