"""Triton kernels of chapter 15."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "expert_dispatch.py:expert_kernel": [
        kernel(
            "ch15_expert_dispatch",
            "triton_tiles",
            {"tokens": 75, "d": 40, "h": 70},
            "a_ptr:*fp32 w_ptr:*fp32 c_ptr:*fp32 row_ptr:*i64 counts_ptr:*i64 k:i32 n:i32",
            {"EXPERTS": 16, "RELU": relu, "ROWS": 32, "COLUMNS": 64, "DEPTH": 32},
        )
        for relu in (True, False)
    ],
    "page_handover.py:handover_kernel": [
        kernel(
            "ch15_page_handover",
            "triton_pages",
            {"layers": 2, "pages": 256, "n": 5, "width": 300},
            "pool_ptr:*fp16 table_ptr:*i32 start_ptr:*i32 y_ptr:*fp16 pages:i32 n:i32 size:i32",
            {"BLOCK": 4096},
        )
    ],
}
