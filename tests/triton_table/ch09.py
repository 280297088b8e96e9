"""Triton kernels of chapter 9."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "l2_distance.py:distance_kernel": [
        kernel(
            "ch09_l2_distance",
            "triton_rows",
            {"rows": 5, "columns": 2100},
            "a_ptr:*fp32 b_ptr:*fp32 d_ptr:*fp32 columns:i32",
            {"BLOCK": 1024},
        )
    ],
    "roofline_ladder.py:horner_kernel": [
        kernel(
            "ch09_roofline_ladder",
            "triton_fused",
            {"n": 3000, "terms": terms},
            "x_ptr:*fp32 c_ptr:*fp32 y_ptr:*fp32 n:i32 terms:i32",
            {"BLOCK": 1024},
        )
        for terms in (2, 7)
    ],
    "attention_tiles.py:tile_kernel": [
        kernel(
            "ch09_attention_tiles",
            "triton_tiles",
            {"heads": 2, "tokens": 101, "d": 32},
            "q_ptr:*fp32 k_ptr:*fp32 v_ptr:*fp32 o_ptr:*fp32 tokens:i32 scale:fp32",
            {"D": 64, "ROWS": 64, "KEYS": 32},
        )
    ],
}
