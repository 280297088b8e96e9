"""Triton kernels of chapter 12."""

from __future__ import annotations

from triton_table import kernel

_RAGGED = "x_ptr:*fp32 length_ptr:*i32 y_ptr:*fp32"

KERNELS = {
    "kernel_launches.py:euler_kernel": [
        kernel(
            "ch12_kernel_launches",
            "triton_fused",
            {"n": 1000},
            "x_ptr:*fp32 y_ptr:*fp32 n:i32 dt:fp32",
            {"STEPS": 16, "BLOCK": 256},
        )
    ],
    "kernel_fusion.py:fused_kernel": [
        kernel(
            "ch12_kernel_fusion",
            "triton_fused",
            {"rows": 3, "columns": 1500},
            "x_ptr:*fp32 bias_ptr:*fp32 residual_ptr:*fp32 y_ptr:*fp32 columns:i32 scale:fp32",
            {"BLOCK": 1024},
        )
    ],
    "work_queue.py:static_kernel": [
        kernel(
            "ch12_work_queue",
            "launch_static",
            {"rows": 7, "columns": 32768},
            f"{_RAGGED} rows:i32 columns:i32 share:i32",
            {"CYCLIC": is_cyclic, "BLOCK": 1024},
            programs=programs,
            cyclic=is_cyclic,
        )
        for is_cyclic, programs in ((False, 3), (True, 3), (False, 7))
    ],
    "work_queue.py:queue_kernel": [
        kernel(
            "ch12_work_queue",
            "launch_queue",
            {"rows": 7, "columns": 32768},
            f"{_RAGGED} counter_ptr:*i32 rows:i32 columns:i32",
            {"BLOCK": 1024},
            programs=3,
        )
    ],
}
