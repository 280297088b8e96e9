"""A held-out case with the tensors of a visible one makes the plan invalid."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import case

from aisp_runner.case import Case, Plan, Tensor
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.workload.held_out import HeldOut


@pytest.fixture
def visible(tmp_path: Path) -> Case:
    return case(tmp_path)


def sized(given: Case, n: int, **changes: Any) -> Case:
    """The same case at another size, held out unless `changes` say otherwise."""
    inputs, outputs = (tuple(dataclasses.replace(t, shape=(n,)) for t in group) for group in (given.inputs, given.outputs))
    fields = {"axes": {"n": n}, "inputs": inputs, "outputs": outputs, "held_out": True}
    return dataclasses.replace(given, **(fields | changes))


def seen(asked: Case, *others: Case) -> Evidence:
    bench: Any = SimpleNamespace(plan=Plan((*others, asked)))
    return HeldOut().judge_preflight(bench, asked)


def test_a_held_out_case_of_another_size_passes(visible: Case) -> None:
    found = seen(sized(visible, 500), visible)
    assert (found.status, found.observed) == ("pass", "held out n=500")


def test_a_held_out_case_of_a_visible_size_is_refused(visible: Case) -> None:
    found = seen(sized(visible, 16384), visible, sized(visible, 500))
    assert found.status == "fail"
    assert found.observed == "held out n=16384; the same tensors as visible n=16384"


def test_another_name_of_an_axis_or_another_tolerance_is_no_other_case(visible: Case) -> None:
    looser: tuple[Tensor, ...] = tuple(dataclasses.replace(t, atol=1e-5, because="other") for t in visible.outputs)
    renamed = dataclasses.replace(visible, held_out=True, axes={"n": 16384, "spare": 7}, outputs=looser)
    assert seen(renamed, visible).status == "fail"


@pytest.mark.parametrize("change", [{"workload": "another"}, {"device": "cuda"}, {"held_out": True}], ids=str)
def test_cases_of_another_workload_or_device_and_held_out_ones_do_not_count(visible: Case, change: dict[str, Any]) -> None:
    assert seen(sized(visible, 16384), dataclasses.replace(visible, **change)).status == "pass"


def test_other_content_of_the_same_shape_is_another_case(visible: Case) -> None:
    inputs = tuple(dataclasses.replace(t, init="uniform", low=0.0, high=1.0) for t in visible.inputs)
    assert seen(dataclasses.replace(visible, held_out=True, inputs=inputs), visible).status == "pass"


def test_a_visible_case_passes_whatever_is_held_out(visible: Case) -> None:
    assert seen(visible, sized(visible, 16384)).status == "pass"


@pytest.mark.parametrize(
    ("phase", "candidate", "status"),
    [("gate", "theirs.py::fast", "unavailable"), ("detect", "theirs.py::fast", "pass"), ("gate", None, "pass")],
    ids=["a gate on code from outside", "no gate", "the workload's own code"],
)
def test_code_from_outside_needs_a_held_out_size_at_a_gate(
    visible: Case, phase: str, candidate: str | None, status: str
) -> None:
    asked = dataclasses.replace(visible, phase=phase, candidate=candidate)
    found = seen(asked)
    assert found.status == status
    assert ("has no held-out case on cpu" in found.observed) == (candidate is not None)
    assert seen(asked, sized(visible, 500)).status == "pass"


@pytest.mark.parametrize("change", [{"workload": "another"}, {"device": "cuda"}], ids=str)
def test_a_held_out_size_of_another_workload_or_device_does_not_help(visible: Case, change: dict[str, Any]) -> None:
    asked = dataclasses.replace(visible, phase="gate", candidate="theirs.py::fast")
    assert seen(asked, sized(visible, 500, **change)).status == "unavailable"
