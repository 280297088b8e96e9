"""The Triton copies: right in the interpreter, compiled for the architectures that matter. Each in a process of its own, since
Triton reads TRITON_INTERPRET when it is imported.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import pytest
from triton_child import children

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ("copy_kernel", "read_kernel", "stream_kernel")
CAPABILITIES = (80, 90, 100)


def interpret(name: str) -> str:
    """What is wrong with the kernel's answer, or ""."""
    import torch

    from aisp_runner.peak import triton_kernels

    programs, block, passes = 6, 256, 3
    blocks = programs * (passes if name == "stream_kernel" else 1)
    source = torch.randint(-1000, 1000, (blocks * block,), dtype=torch.int32)
    target = torch.full((programs * block,), 7, dtype=torch.int32)
    getattr(triton_kernels, name)[(programs,)](source, target, passes, BLOCK=block)
    if name == "stream_kernel":
        return "" if torch.equal(target, source.view(programs, passes, block).sum(1).int().view(-1)) else "wrong answer"
    rows = source.view(programs, block)
    order = [[(i + 7919 * p) % programs for i in range(programs)] for p in range(passes)]
    expected = sum(rows[visited] for visited in order).view(-1) if name == "read_kernel" else source
    return "" if torch.equal(target, expected) else "wrong answer"


def compiled(name: str) -> str:
    """What is wrong with the compiled kernel, or "": a cubin, and loads of 16 bytes that bypass L1."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from aisp_runner.peak import triton_kernels

    aligned = {(0,): [["tt.divisibility", 16]], (1,): [["tt.divisibility", 16]]}
    pointers = {"source_ptr": "*i32", "target_ptr": "*i32"}
    forms = [
        (pointers | {"passes": "i32"}, {"BLOCK": 2048}),
        (pointers | {"passes": "constexpr"}, {"passes": 1, "BLOCK": 8192}),
    ]
    for signature, constants in forms:
        for capability in CAPABILITIES:
            source = ASTSource(getattr(triton_kernels, name), signature, constants, attrs=aligned)
            built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
            if "cubin" not in built.asm or "ld.global.cg.v4" not in built.asm["ptx"]:
                return f"sm_{capability}: no cubin with wide loads"
    return ""


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, str]]:
    """By task and kernel: what is wrong, or "". Both tasks run at the same time."""
    pytest.importorskip("triton", reason="the interpreter and the compiler are parts of triton")
    return children(__file__)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_moves_what_it_says_in_the_interpreter(name: str, told: dict[str, dict[str, str]]) -> None:
    assert told["interpret"][name] == ""


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles_for_ampere_hopper_and_blackwell_with_wide_loads(name: str, told: dict[str, dict[str, str]]) -> None:
    assert told["compile"][name] == ""


def main(task: str) -> None:
    answers = {}
    for name in KERNELS:
        try:
            answers[name] = interpret(name) if task == "interpret" else compiled(name)
        except Exception:  # whatever the compiler raises is the test's answer
            answers[name] = traceback.format_exc()[-2000:]
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
