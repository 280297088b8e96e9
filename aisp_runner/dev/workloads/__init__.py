"""What is measured in benchmarks of the runner, as cases built in Python: operations of known length, by device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aisp_runner.case import Case, Limits, Measure, Tensor, Variant
from aisp_runner.dev import kernels
from aisp_runner.errors import ConfigError
from aisp_runner.protect import registry
from aisp_runner.sources import describe

FILE = Path(kernels.__file__)


@dataclass(frozen=True)
class Operation:
    """One function of kernels.py with the tensors that it takes."""

    name: str
    """As tables show it: what it is, and about how long it takes."""
    function: str
    reference: str
    inputs: tuple[Tensor, ...]
    output: Tensor

    def case(self, device: str, measure: Measure, baseline: str = "", candidate: str = "", phase: str = "detect") -> Case:
        """A case that holds this operation against itself, or two other functions of kernels.py with the same tensors."""
        source = describe(FILE)
        first, second = baseline or self.function, candidate or self.function
        return Case(
            workload=self.name.replace(" ", "_"),
            question="What is the clock worth?",
            group="",
            origin="aisp_runner/dev/workloads",
            axes={},
            held_out=False,
            device=device,
            inputs=self.inputs,
            outputs=(self.output,),
            reference=Variant(self.reference, source, self.reference),
            baseline=Variant(first, source, first),
            optimized=Variant(second, source, second),
            phase=phase,
            measure=measure,
            limits=Limits(),
            protections=registry.select({"mode": "strict"}),
        )


def addition(name: str, elements: int, function: str = "add") -> Operation:
    """float32, one dimension."""
    inputs = tuple(Tensor(n, (elements,), "float32", "activation") for n in "ab")
    output = Tensor("c", (elements,), "float32", "output", rtol=2e-6, atol=1e-6, because="one addition, rounded once")
    return Operation(name, function, "reference", inputs, output)


def row_softmax(name: str, rows: int, columns: int) -> Operation:
    """bfloat16, over rows."""
    because = "float32 inside, one rounding to bfloat16"
    output = Tensor("c", (rows, columns), "bfloat16", "output", rtol=4.5e-3, because=because)
    return Operation(name, "softmax", "reference_softmax", (Tensor("a", (rows, columns), "bfloat16", "activation"),), output)


def product(name: str, size: int, dtype: str = "bfloat16") -> Operation:
    """Square matrices, bfloat16 or float32."""
    inputs = tuple(Tensor(n, (size, size), dtype, "activation") for n in "ab")
    rtol, atol = (4.5e-3, 1e-3) if dtype == "bfloat16" else (2e-6, 4e-6)
    because = "sums of size sqrt(n) of that many products in float32, and one rounding to the dtype"
    output = Tensor("c", (size, size), dtype, "output", rtol=rtol, atol=atol * size**0.5, because=because)
    return Operation(name, "matmul", "reference_matmul", inputs, output)


def clock_operations(device: str, only: str = "") -> tuple[Operation, ...]:
    """Operations of about 1, 5, 20, 250 and 1500 us on an H200, and a product that is held back by power; on a CPU, where
    nothing that short can be timed, of about 0.2 and 2 ms. only: those whose name contains it.
    """
    if device == "cpu":
        return repeat_operations(device, only)
    known = (
        addition("add 1 k", 1 << 10),
        addition("add 1.25 M", 1_250_000),
        row_softmax("softmax 4096 x 4096", 4096, 4096),
        row_softmax("softmax 16384 x 16384", 16384, 16384),
        addition("spin 2.9 M cycles", 1 << 10, "spin_long"),
        product("matmul 8192", 8192),
    )
    return _named(known, only)


def repeat_operations(device: str, only: str = "") -> tuple[Operation, ...]:
    """A short and a long one. only: those whose name contains it."""
    cpu = addition("add 1 M", 1 << 20), product("matmul 512", 512, "float32")
    cuda = row_softmax("softmax 4096 x 4096", 4096, 4096), product("matmul 8192", 8192)
    return _named(cpu if device == "cpu" else cuda, only)


def _named(known: tuple[Operation, ...], only: str) -> tuple[Operation, ...]:
    """Those whose name contains `only`. Raises ConfigError where none does: a table without rows says nothing."""
    if chosen := tuple(operation for operation in known if only in operation.name):
        return chosen
    raise ConfigError(f"--only {only}: no operation's name contains it. Operations: {', '.join(o.name for o in known)}.")


def effect_operation(device: str) -> tuple[Operation, str]:
    """An operation with a family of slower twins in kernels.py, and the family's name."""
    if device == "cpu":
        return addition("chunked add", kernels.CHUNKS * kernels.CHUNK, "chunks_0"), "chunks"
    return addition("spin 36 k cycles", 1 << 10, "spin_0"), "spin"
