"""Triton kernels of chapter 19."""

from __future__ import annotations

from triton_table import kernel

KERNELS = {
    "quantised_cache.py:codes_kernel": [
        kernel(
            "ch19_quantised_cache",
            "triton_codes",
            {"b": 2, "heads": 2, "t": 101, "e": 32},
            "q_ptr:*fp32 k_ptr:*i8 v_ptr:*i8 k_scale_ptr:*i8 v_scale_ptr:*i8 kn_ptr:*i8 vn_ptr:*i8 "
            "o_ptr:*fp32 t:i32 scale:fp32",
            {"E": 128, "BLOCK": 64},
        )
    ],
    "integer_linear.py:row_codes_kernel": [
        kernel(
            "ch19_integer_linear",
            "library_fused",
            {"n": 5, "d": 1100, "m": 9},
            "x_ptr:*fp32 codes_ptr:*i8 scale_ptr:*i8 d:i32",
            {"BLOCK": 1024},
        )
    ],
    "byte_momentum.py:momentum_kernel": [
        kernel(
            "ch19_byte_momentum",
            "triton_step",
            {"blocks": 21},
            "p_ptr:*fp32 g_ptr:*bf16 m_ptr:*i8 s_ptr:*i8 p1_ptr:*fp32 m1_ptr:*i8 s1_ptr:*i8 blocks:i32 rate:fp32",
            {"N": 16, "BLOCK": 64},
        )
    ],
}
