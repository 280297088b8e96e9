"""Plan and Case: what goes to JSON comes back, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from bench import case

from aisp_runner.case import Case, Limits, Measure, Plan, Skip, from_json, to_json
from aisp_runner.errors import ConfigError


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with every optional thing in it."""
    given = case(tmp_path, work_bytes=12.0, candidate="theirs.py::fast")
    return Plan(
        (given, dataclasses.replace(given, measure=Measure(), work_bytes=None)), (Skip("w", "v", "cuda", "no GPU"),), ("x=1",)
    )


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(to_json(value)))


def changed(plan: Plan, *path: Any, to: Any) -> dict[str, Any]:
    """The plan as JSON with one value replaced; to=KeyError removes it."""
    data = through_json(plan)
    place = data
    for part in path[:-1]:
        place = place[part]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return data


def test_a_plan_comes_back_from_json_as_it_was(plan: Plan) -> None:
    again = from_json(Plan, through_json(plan))
    assert again == plan
    assert again.sha256() == plan.sha256()
    assert isinstance(again.cases[0].inputs[0].shape, tuple) and isinstance(again.cases[0].measure.calls, tuple)


def test_optional_values_come_back_as_none(plan: Plan) -> None:
    again = from_json(Plan, through_json(plan)).cases[1]
    assert again.measure.calls is None and again.work_bytes is None


def test_a_default_may_be_left_out(plan: Plan) -> None:
    data = changed(plan, "cases", 0, "limits", to=KeyError)
    assert from_json(Plan, data).cases[0].limits == Limits()


def test_a_whole_number_is_taken_for_a_float(plan: Plan) -> None:
    data = changed(plan, "cases", 0, "measure", "margin", to=1)
    margin = from_json(Plan, data).cases[0].measure.margin
    assert margin == 1.0 and isinstance(margin, float)


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("cases", 0, "phase"), 7, "plan.cases[0].phase: 7 is not str"),
        (("cases", 0, "held_out"), 1, "plan.cases[0].held_out: 1 is not bool"),
        (("cases", 0, "threads"), True, "plan.cases[0].threads: True is not int"),
        (("cases", 0, "threads"), 1.5, "plan.cases[0].threads: 1.5 is not int"),
        (("cases", 0, "measure", "margin"), True, "plan.cases[0].measure.margin: True is not float"),
        (("cases", 0, "measure", "margin"), "0.1", "plan.cases[0].measure.margin: '0.1' is not float"),
        (("cases", 0, "measure", "calls"), [4], "plan.cases[0].measure.calls: [4] is not a list of 2"),
        (("cases", 0, "axes", "n"), "big", "plan.cases[0].axes.n: 'big' is not int"),
        (("cases", 0, "inputs", 1, "shape"), 4, "plan.cases[0].inputs[1].shape: 4 is not a list"),
        (("cases", 0, "protections"), [], "plan.cases[0].protections: [] is not a mapping"),
        (("cases", 0, "baseline", "source"), "k.py", "plan.cases[0].baseline.source: 'k.py' is not a mapping"),
        (("cases", 0, "workload"), KeyError, "plan.cases[0].workload: missing"),
        (
            ("cases", 0, "inputs", 0, "rolle"),
            "x",
            "plan.cases[0].inputs[0].rolle: unknown key. Did you mean 'role'? Known keys: atol",
        ),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_is_wrong_in_a_plan_is_named_with_its_place(plan: Plan, path: tuple[Any, ...], to: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        from_json(Plan, changed(plan, *path, to=to))
    assert str(refused.value).startswith(said)
    assert "Make the plan again" in str(refused.value) or "Known keys" in str(refused.value)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("cases", 0, "outputs", 0, "rtol"), 1e-3),
        (("cases", 0, "optimized", "source", "sha256", "kernel.py"), "0" * 64),
        (("cases", 0, "protections", "memory.late_writes", "settle_ms"), 0),
        (("skips",), []),
        (("cases", 1, "require"), "faster"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_digest_changes_with_every_value(plan: Plan, path: tuple[Any, ...], to: Any) -> None:
    assert from_json(Plan, changed(plan, *path, to=to)).sha256() != plan.sha256()


def test_a_title_names_workload_variant_axes_and_device(tmp_path: Path) -> None:
    given: Case = case(tmp_path, axes={"m": 2, "n": 3})
    assert given.title == "addition / candidate / m=2,n=3 / cpu"
    assert dataclasses.replace(given, axes={}).title == "addition / candidate / cpu"


def test_a_case_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        case(tmp_path).phase = "gate"  # type: ignore[misc]
