"""Triton kernels of chapter 15."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
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
