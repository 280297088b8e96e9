"""Which guesses a tolerance takes for the answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aisp_runner.case import Tensor
from aisp_runner.protect.output.vacuous_tolerance import VacuousTolerance

torch.manual_seed(0)
ANSWER, OTHER = torch.randn(2, 1000, dtype=torch.float64)


def taken(dtype: str = "float32", rtol: float = 0.0, atol: float = 0.0, answer: torch.Tensor = ANSWER) -> list[str]:
    spec = Tensor("c", (1000,), dtype, "output", rtol=rtol, atol=atol)
    return VacuousTolerance().passing(spec, answer, OTHER.to(answer.dtype))


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 0.0), ("bfloat16", 8e-3), ("float16", 1e-3)])
def test_a_tolerance_that_fits_takes_nothing(dtype: str, rtol: float) -> None:
    assert taken(dtype, rtol) == []


def test_a_tolerance_of_one_percent_takes_a_scaled_answer() -> None:
    assert taken("bfloat16", rtol=0.0101) == ["the answer times 1.01"]


def test_an_absolute_tolerance_as_large_as_the_answer_takes_everything() -> None:
    assert set(taken(atol=100.0)) == {
        "all zeros",
        "the answer to other content",
        "the answer times 1.01",
        "a half-precision answer",
    }


def test_half_precision_is_held_against_full_precision_alone() -> None:
    assert taken("float32", rtol=5e-4, atol=1e-6) == ["a half-precision answer"]
    assert taken("float16", rtol=5e-4, atol=1e-6) == []


def test_single_precision_is_held_against_double_alone() -> None:
    assert taken("float64", atol=1e-6) == ["a single-precision answer"]
    assert taken("float64", atol=1e-9) == []
    assert taken("float32", atol=1e-6) == []


def test_integers_are_held_against_zeros_and_another_answer() -> None:
    answer = torch.arange(1000, dtype=torch.int32)
    assert taken("int32", answer=answer) == []
    assert taken("int32", answer=torch.zeros_like(answer)) != []


@pytest.mark.parametrize(("atol", "status"), [(0.0, "pass"), (100.0, "fail")])
def test_a_workload_is_judged_by_the_oracles_first_two_answers(atol: float, status: str) -> None:
    spec = Tensor("c", (1000,), "float32", "output", rtol=1e-6, atol=atol)
    views = {"c": torch.stack([ANSWER, OTHER])}
    judge: Any = SimpleNamespace(case=SimpleNamespace(outputs=(spec,)), oracle=SimpleNamespace(views=views))
    found = VacuousTolerance().judge_calibrate(judge)
    assert found.status == status and (status == "pass") == (found.observed == "every guess is refused")
    assert status == "pass" or "c takes all zeros" in found.observed


def test_a_single_number_that_is_near_a_half_by_chance_is_no_mistake_of_the_workload() -> None:
    spec = Tensor("c", (1,), "float32", "output", rtol=1e-5)
    near, far = torch.tensor([3072.01], dtype=torch.float64), torch.tensor([3073.0], dtype=torch.float64)

    def status(*answers: torch.Tensor) -> str:
        judge: Any = SimpleNamespace(
            case=SimpleNamespace(outputs=[spec]), oracle=SimpleNamespace(views={"c": torch.stack(answers)})
        )
        return VacuousTolerance().judge_calibrate(judge).status

    assert VacuousTolerance().passing(spec, near, far) == ["a half-precision answer"]
    assert [status(near, far), status(far, near), status(near, near + 32)] == ["pass", "pass", "fail"]
