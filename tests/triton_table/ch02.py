"""Triton kernels of chapter 2."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "arithmetic_intensity.py:horner_kernel": [
        kernel(
            "ch02_arithmetic_intensity",
            "triton_registers",
            {"n": 3000, "degree": 7},
            "x_ptr:*fp32 p_ptr:*fp32 y_ptr:*fp32 n:i32",
            {"DEGREE": 7, "BLOCK": 1024},
        )
    ],
    "host_table.py:row_kernel": [
        kernel(
            "ch02_host_table",
            "launch_rows",
            {"rows": 512, "d": 1500, "k": 9},
            "table_ptr:*fp32 index_ptr:*i64 y_ptr:*fp32 d:i32",
            {"BLOCK": 1024},
        )
    ],
}
