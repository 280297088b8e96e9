"""Triton kernels of chapter 5."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "run_lengths.py:expand_kernel": [
        kernel(
            "ch05_run_lengths",
            "triton_expand",
            {"r": r},
            "value_ptr:*fp32 ends_ptr:*i32 y_ptr:*fp32 r:i32 n:i32",
            {"STEPS": r.bit_length(), "BLOCK": 1024},
        )
        for r in (7, 64)
    ],
}
