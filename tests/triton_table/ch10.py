"""Triton kernels of chapter 10."""

from __future__ import annotations

from triton_table import kernel

_ATTENTION = "q_ptr:*fp16 k_ptr:*fp16 v_ptr:*fp16 y_ptr:*fp16 length:i32 scale:fp32"

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
}
