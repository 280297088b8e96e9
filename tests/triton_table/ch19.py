"""Triton kernels of chapter 19."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "quantised_cache.py:codes_kernel": [
        kernel(
            "ch19_quantised_cache",
            "triton_codes",
            {"b": 2, "heads": 2, "t": 101, "e": 32},
            "q_ptr:*fp32 k_ptr:*i8 v_ptr:*i8 k_scale_ptr:*i8 v_scale_ptr:*i8 kc_ptr:*i8 vc_ptr:*i8 ks_ptr:*i8 vs_ptr:*i8 "
            "o_ptr:*fp32 t:i32 scale:fp32",
            {"E": 128, "BLOCK": 64},
        )
    ],
}
