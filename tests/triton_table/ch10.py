"""Triton kernels of chapter 10."""

from __future__ import annotations

from triton_table import kernel

_ATTENTION = "q_ptr:*fp16 k_ptr:*fp16 v_ptr:*fp16 y_ptr:*fp16 length:i32 scale:fp32"
_SIZES = "m:i32 n:i32 k:i32"

KERNELS = {
    "flash_attention.py:flash_kernel": [
        kernel(
            "ch10_flash_attention",
            "launch_flash",
            {"heads": 2, "length": 150},
            _ATTENTION,
            {"WIDTH": 64, "QUERIES": queries, "KEYS": 64},
            queries=queries,
            stages=stages,
        )
        for queries, stages in ((64, 1), (128, 3))
    ],
    "resident_matmul.py:place": [],  # called by the two below
    "resident_matmul.py:pointer_kernel": [
        kernel(
            "ch10_persistent_matmul",
            "launch_pointers",
            {"m": 150, "n": 72, "k": 88},
            f"a_ptr:*fp16 b_ptr:*fp16 c_ptr:*fp16 {_SIZES}",
            {"ROWS": 32, "COLUMNS": 32, "DEPTH": 64, "GROUP": 8},
            rows=32,
            columns=32,
        )
    ],
    "resident_matmul.py:descriptor_kernel": [
        kernel(
            "ch10_persistent_matmul",
            "launch_descriptors",
            {"m": 150, "n": 72, "k": 88},
            f"a_tiles:tensordesc<fp16[32,64]> b_tiles:tensordesc<fp16[64,32]> c_tiles:tensordesc<fp16[32,32]> {_SIZES}",
            {"ROWS": 32, "COLUMNS": 32, "DEPTH": 64, "GROUP": 8},
            rows=32,
            columns=32,
            programs=programs,
        )
        for programs in (4, 1000)
    ],
}
