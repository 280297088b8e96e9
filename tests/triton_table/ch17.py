"""Triton kernels of chapter 17."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "expert_lists.py:group_kernel": [
        kernel(
            "ch17_expert_lists",
            "triton_grouped",
            {"n": 70, "d": 40, "h": 72, "e": 3},
            "x_ptr:*fp32 order_ptr:*i64 end_ptr:*i64 w_ptr:*fp32 y_ptr:*fp32 k:i32 n:i32 scale:fp32",
            {"TOP": top, "ROWS": 64, "COLUMNS": 64, "DEPTH": 32},
        )
        for top in (2, 0)
    ],
}
