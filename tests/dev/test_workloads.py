"""Operations of known length, as functions and as cases."""

from __future__ import annotations

import pytest
import torch

from aisp_runner.dev import kernels, workloads
from aisp_runner.dev.repeat import EFFECTS
from aisp_runner.dev.settings import measure
from aisp_runner.errors import ConfigError
from aisp_runner.protect.output.vacuous_tolerance import VacuousTolerance
from aisp_runner.verify import accepts

SMALL = (
    workloads.addition("addition", 4096),
    workloads.row_softmax("softmax", 64, 256),
    workloads.product("product", 128),
    workloads.product("product, float32", 128, "float32"),
)


def drawn(operation: workloads.Operation, seed: int) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=source).to(getattr(torch, t.dtype)) for t in operation.inputs]


@pytest.mark.parametrize("operation", SMALL, ids=lambda operation: operation.name)
def test_a_function_gives_what_its_reference_gives_in_float64_and_the_tolerance_means_something(
    operation: workloads.Operation,
) -> None:
    reference = getattr(kernels, operation.reference)
    answers = []
    for seed in (1, 2):
        given = drawn(operation, seed)
        out = torch.full(operation.output.shape, float("nan"), dtype=getattr(torch, operation.output.dtype))
        getattr(kernels, operation.function)(*given, out)
        answers.append(reference(*(t.double() for t in given)))
        assert accepts(operation.output, out, answers[-1])
    assert not VacuousTolerance().passing(operation.output, *answers)


@pytest.mark.parametrize("name", ["chunks_0", *(f"chunks_{name}" for name in EFFECTS)])
def test_slower_twins_compute_the_same(name: str) -> None:
    operation, family = workloads.effect_operation("cpu")
    assert family == "chunks"
    a, b = drawn(operation, 1)
    out = torch.full_like(a, float("nan"))
    getattr(kernels, name)(a, b, out)
    assert torch.equal(out, a + b)


@pytest.mark.parametrize("family", ["chunks", "spin"])
def test_slower_twins_do_as_much_more_as_their_names_say(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(torch.cuda, "_sleep", done.append)
    monkeypatch.setattr(torch, "add", lambda *_, out: done.append(1) if family == "chunks" else None)
    empty = torch.empty(kernels.CHUNK)
    work = {}
    for name in ("0", *EFFECTS):
        getattr(kernels, f"{family}_{name}")(empty, empty, empty)
        work[name] = sum(done)
        done.clear()
    for name, effect in EFFECTS.items():
        assert work[name] / work["0"] == pytest.approx(1 + effect, abs=1e-5)


def test_the_cuda_operations_are_there_and_a_name_selects() -> None:
    assert len(workloads.clock_operations("cuda")) == 6
    assert [o.name for o in workloads.clock_operations("cuda", "add")] == ["add 1 k", "add 1.25 M"]
    assert [o.name for o in workloads.repeat_operations("cpu", "matmul")] == ["matmul 512"]


def test_a_case_holds_an_operation_against_itself_unless_told_otherwise() -> None:
    operation = workloads.repeat_operations("cpu")[0]
    same = operation.case("cpu", measure("quick"))
    assert same.baseline == same.optimized and same.reference.function == "reference"
    slow = operation.case("cpu", measure("quick"), baseline="chunks_5", candidate="chunks_0")
    assert (slow.baseline.function, slow.optimized.function) == ("chunks_5", "chunks_0")


def test_a_name_that_no_operation_has_is_told_and_not_an_empty_table() -> None:
    with pytest.raises(ConfigError, match=r"--only product.*matmul 8192"):
        workloads.repeat_operations("cuda", "product")
