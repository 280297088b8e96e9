"""How each Triton kernel of the chapters is called in the interpreter and compiled: a module a chapter, each with KERNELS."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TritonKernel:
    """How to call a Triton kernel on CPU tensors in the interpreter, and how to compile it."""

    workload: str
    axes: dict[str, int]
    function: str
    signature: dict[str, str]
    constants: dict[str, Any]
    arguments: dict[str, Any]
    """Further arguments of `function`, after the workload's tensors."""


def kernel(
    workload: str, function: str, axes: dict[str, int], types: str, constants: dict[str, Any], **arguments: Any
) -> TritonKernel:
    """types: "name:type" words in the order of the kernel's parameters; the constants come last."""
    signature = dict(word.split(":") for word in types.split()) | dict.fromkeys(constants, "constexpr")
    return TritonKernel(workload, axes, function, signature, constants, arguments)


def collected() -> dict[str, list[TritonKernel]]:
    """The kernels of all modules here, by file.py:function below kernels/."""
    found: dict[str, list[TritonKernel]] = {}
    for module in pkgutil.iter_modules(__path__):
        for key, kernels in importlib.import_module(f"triton_table.{module.name}").KERNELS.items():
            found[key] = found.get(key, []) + kernels
    return found
