"""Triton kernels of chapter 18."""

from __future__ import annotations

from triton_table import kernel

_PAGES = {"batch": 3, "heads": 2, "group": 2, "d": 16, "pages": 1024, "columns": 128}
_PARTS = "mix_ptr:*fp32 top_ptr:*fp32 total_ptr:*fp32"
_RINGS = "q1_ptr:*fp32 key_ptr:*fp32 value_ptr:*fp32"

KERNELS = {
    "_banded_attention.py:banded_kernel": [
        kernel(
            "ch18_sliding_window",
            "triton_window",
            {"heads": 2, "tokens": 301, "d": 32},
            "q_ptr:*fp16 k_ptr:*fp16 v_ptr:*fp16 o_ptr:*fp16 first_ptr:*i32 slope_ptr:*i32 tokens:i32 scale:fp32",
            {"D": 128, "ROWS": 128, "KEYS": 64, "SLOPED": False},
        )
    ],
    "paged_attention.py:pages_kernel": [
        kernel(
            "ch18_paged_attention",
            function,
            _PAGES,
            "q_ptr:*fp32 key_ptr:*fp32 value_ptr:*fp32 table_ptr:*i32 length_ptr:*i32 "
            f"{_PARTS} heads:i32 columns:i32 scale:fp32",
            {"PAGE": 16, "GROUP": 4, "D": 128, "PARTS": parts},
        )
        for function, parts in (("triton_paged", 1), ("triton_split", 16))
    ],
    "paged_attention.py:join_kernel": [
        kernel("ch18_paged_attention", "triton_split", _PAGES, f"{_PARTS} o_ptr:*fp32", {"D": 128, "PARTS": 16})
    ],
    "window_decode.py:window_kernel": [
        kernel(
            "ch18_window_decode",
            "triton_window",
            {"batch": 2, "heads": 2, "tokens": 4100, "d": 16},
            "q_ptr:*fp32 key_ptr:*fp32 value_ptr:*fp32 position_ptr:*i32 o_ptr:*fp32 "
            "heads:i32 tokens:i32 window:i32 scale:fp32",
            {"D": 128, "BLOCK": 64},
        )
    ],
    "rope_cache.py:rope_kernel": [
        kernel(
            "ch18_rope_cache",
            "triton_fused",
            {"tokens": 7, "heads": 3, "d": 16},
            f"q_ptr:*fp32 k_ptr:*fp32 v_ptr:*fp32 cos_ptr:*fp32 sin_ptr:*fp32 start_ptr:*i32 {_RINGS} tokens:i32 heads:i32",
            {"HALF": 64, "HEADS": 16},
        )
    ],
    "skinny_projections.py:skinny_kernel": [
        kernel(
            "ch18_skinny_projections",
            "triton_skinny",
            {"n": n, "d": 300},
            "x_ptr:*fp32 w_ptr:*fp32 y_ptr:*fp32 n:i32 d:i32 width:i32",
            {"N": rows, "OUT": 4, "DEPTH": min(512, 2048 // rows)},
        )
        for n, rows in ((1, 1), (3, 4), (16, 16))
    ],
}
