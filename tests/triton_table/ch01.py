"""Triton kernels of chapter 1."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "row_normalize.py:normalize_kernel": [
        kernel(
            "ch01_row_normalize",
            "triton_rows",
            {"rows": 5, "columns": 300},
            "x_ptr:*fp32 y_ptr:*fp32 columns:i32 epsilon:fp32",
            {"BLOCK": 4096},
        )
    ],
}
