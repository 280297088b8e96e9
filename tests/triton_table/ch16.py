"""Triton kernels of chapter 16."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "prompt_pages.py:prompt_kernel": [
        kernel(
            "ch16_prompt_pages",
            "triton_pages",
            {"chunk": 75, "heads": 2, "d": 16, "pages": 300, "columns": 264},
            "q_ptr:*fp32 key_ptr:*fp32 value_ptr:*fp32 table_ptr:*i32 position_ptr:*i32 o_ptr:*fp32 "
            "chunk:i32 heads:i32 scale:fp32",
            {"D": 128, "ROWS": 64, "KEYS": 16, "PAGE": 16},
        )
    ],
    "block_sparse.py:blocks_kernel": [
        kernel(
            "ch16_block_sparse",
            "triton_blocks",
            {"heads": 2, "blocks": 5, "d": 16},
            "q_ptr:*fp32 k_ptr:*fp32 v_ptr:*fp32 count_ptr:*i64 seen_ptr:*i64 o_ptr:*fp32 tokens:i32 scale:fp32",
            {"D": 128, "BLOCK": 64, "KEYS": 32},
        )
    ],
}
