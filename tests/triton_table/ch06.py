"""Triton kernels of chapter 6."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "vector_add.py:add_kernel": [
        kernel("ch06_vector_add", "triton_add", {"n": 3000}, "a_ptr:*fp32 b_ptr:*fp32 c_ptr:*fp32 n:i32", {"BLOCK": 1024})
    ],
    "branchless.py:select_kernel": [
        kernel("ch06_branchless", "triton_select", {"n": 3000}, "x_ptr:*fp32 y_ptr:*fp32 n:i32", {"BLOCK": 1024})
    ],
}
