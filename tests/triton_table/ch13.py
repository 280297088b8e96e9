"""Triton kernels of chapter 13."""

from __future__ import annotations

from triton_table import kernel

_STATE = " ".join(f"{name}_ptr:*fp32" for name in ("p", "g", "m", "v", "p1", "m1", "v1"))
_NUMBERS = " ".join(f"{name}:fp32" for name in ("keep", "pace", "root", "rest1", "beta2", "rest2", "epsilon"))

KERNELS = {
    "optimizer_step.py:adamw_kernel": [
        kernel("ch13_optimizer_step", "triton_flat", {"tensors": 3, "n": 701}, f"{_STATE} n:i32 {_NUMBERS}", {"BLOCK": 1024})
    ],
}
