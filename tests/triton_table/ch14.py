"""Triton kernels of chapter 14."""

from __future__ import annotations

from triton_table import kernel

_BANDED = "q_ptr:*fp32 k_ptr:*fp32 v_ptr:*fp32 o_ptr:*fp32 first_ptr:*i32 slope_ptr:*{} tokens:i32 scale:fp32"

KERNELS = {
    "_banded_attention.py:banded_kernel": [
        kernel(
            "ch14_alibi_attention",
            "triton_sloped",
            {"heads": 2, "tokens": 101, "d": 32},
            _BANDED.format("fp32"),
            {"D": 64, "ROWS": 64, "KEYS": 32, "SLOPED": True},
        ),
        kernel(
            "ch14_packed_documents",
            "triton_ranges",
            {"heads": 2, "tokens": 301, "d": 16, "documents": 4},
            _BANDED.format("i32"),
            {"D": 64, "ROWS": 64, "KEYS": 32, "SLOPED": False},
        ),
    ],
    "cross_entropy.py:loss_kernel": [
        kernel(
            "ch14_cross_entropy",
            "triton_online",
            {"rows": 3, "vocabulary": 8999},
            "logits_ptr:*fp32 target_ptr:*i64 loss_ptr:*fp32 vocabulary:i32",
            {"BLOCK": 4096},
        )
    ],
    **{
        f"gated_block.py:{name}": [
            kernel("ch14_gated_block", "triton_regions", {"n": 3, "d": 100, "h": 1100}, types, {"BLOCK": block})
        ]
        for name, types, block in (
            ("norm_kernel", "x_ptr:*fp32 gain_ptr:*fp32 y_ptr:*fp32 d:i32 epsilon:fp32", 128),
            ("gate_kernel", "both_ptr:*fp32 hidden_ptr:*fp32 h:i32", 1024),
        )
    },
    "persistent_matmul.py:tile_kernel": [
        kernel(
            "ch14_persistent_matmul",
            function,
            {"m": 300, "n": 200, "k": 100},
            "a_ptr:*fp16 b_ptr:*fp16 c_ptr:*fp16 m:i32 n:i32 k:i32",
            {"GROUP": arguments["group"], "PERSISTENT": "programs" in arguments, "ROWS": 128, "COLUMNS": 128, "DEPTH": 64},
            **arguments,
        )
        for function, arguments in (
            ("launch_tiles", {"group": 1}),
            ("launch_tiles", {"group": 2}),
            ("launch_persistent", {"group": 8, "programs": 4}),
        )
    ],
}
