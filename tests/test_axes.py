"""Sizes of axes: ranges, lists of cases, and the command line's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from aisp_runner.axes import MAX_CASES, MAX_SIZES, cases
from aisp_runner.config import load_yaml
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.plan import plan_of
from aisp_runner.spec import WorkloadSpec, workload_from_dict

FUSION = content_root() / "conf" / "workload" / "ch12_kernel_fusion.yaml"


def spec_with(axes: Any, held_out: Any = ()) -> WorkloadSpec:
    """ch12_kernel_fusion with these sizes on a CPU."""
    data = load_yaml(FUSION) | {"axes": {"cpu": axes}, "held_out": {"cpu": list(held_out)}}
    return workload_from_dict("x", data, "x.yaml", FUSION.parent)


@pytest.mark.parametrize(
    ("range_", "sizes"),
    [
        ([3, 5], [3, 5]),
        ({"from": 1024, "to": 16384, "times": 4}, [1024, 4096, 16384]),
        ({"from": 1000, "to": 20000, "times": 4}, [1000, 4000, 16000]),
        ({"from": 8, "to": 24, "step": 8}, [8, 16, 24]),
        ({"from": 7, "to": 7, "step": 1}, [7]),
    ],
)
def test_a_range_stands_for_its_sizes(range_: Any, sizes: list[int]) -> None:
    made = spec_with({"rows": range_, "columns": [2]})
    assert [case["rows"] for case in cases(made, "cpu")] == sizes


def test_axes_are_combined_and_listed_cases_are_not() -> None:
    combined = spec_with({"rows": [1, 2], "columns": [3, 4]})
    assert [tuple(c.values()) for c in cases(combined, "cpu")] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    listed = spec_with([{"rows": 1, "columns": 3}, {"columns": 4, "rows": 2}], [{"rows": 1, "columns": 4}])
    assert cases(listed, "cpu") == [{"rows": 1, "columns": 3}, {"rows": 2, "columns": 4}]


@pytest.mark.parametrize(
    ("axes", "held_out", "said"),
    [
        ({"rows": {"from": 8, "to": 4, "times": 2}, "columns": [1]}, (), "axes.cpu.rows: from 8 is above to 4"),
        ({"rows": {"from": 1, "to": 9**9, "step": 1}, "columns": [1]}, (), f"more than {MAX_SIZES} sizes"),
        ({"rows": {"from": 1, "to": 9, "times": 1}, "columns": [1]}, (), "axes.cpu.rows.times: 1 is not allowed"),
        ({"rows": {"from": 1, "to": 9}, "columns": [1]}, (), "is not allowed; a range such as"),
        ({"rows": list(range(1, 400)), "columns": list(range(1, 400))}, (), f"at most {MAX_CASES} are run"),
        ([{"rows": 1, "columns": 2}, {"rows": 1}], (), "axes.cpu[1]: it gives rows; rows, columns are wanted"),
        ([{"rows": 1, "columns": 2}] * 2, (), "axes.cpu[1]: {'rows': 1, 'columns': 2} is there twice"),
        ([{"rows": 1, "columns": 2}], ({"rows": 1, "columns": 2},), "is one of the declared cases"),
        ([], (), "axes.cpu: it is empty"),
    ],
)
def test_sizes_that_mean_nothing_are_refused(axes: Any, held_out: Any, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spec_with(axes, held_out)
    assert said in str(raised.value)


def planned(*overrides: str) -> list[dict[str, int]]:
    plan = plan_of(["device=cpu", "measure=quick", *overrides])
    return [dict(case.axes) for case in plan.cases if not case.held_out and case.optimized.name in ("blocked", "coarse")]


def test_the_command_line_gives_sizes_to_every_workload_that_has_the_axis() -> None:
    assert planned(
        "+workload=ch06_vector_add,ch12_kernel_fusion", "axes.n=[16,64]", "axes.rows={from: 2, to: 8, times: 2}"
    ) == [
        {"n": 16},
        {"n": 64},
        *({"rows": rows, "columns": 1024} for rows in (2, 4, 8)),
    ]


def test_an_axis_that_no_workload_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"axes\.row: no chosen workload has this axis\. Did you mean 'rows'\?"):
        planned("+workload=ch12_kernel_fusion", "axes.row=[1]")


def test_listed_cases_take_all_their_axes_or_none(tmp_path: Path) -> None:
    text = OmegaConf.to_yaml(load_yaml(FUSION) | {"axes": {"cpu": [{"rows": 4, "columns": 8}]}, "held_out": {}})
    (tmp_path / "workload").mkdir()
    (tmp_path / "workload" / "mine.yaml").write_text(text, "utf-8")

    def rows(*overrides: str) -> list[tuple[int, ...]]:
        plan = plan_of(["+workload=mine", "device=cpu", *overrides], [tmp_path])
        return [tuple(c.axes.values()) for c in plan.cases if c.optimized.name == "blocked"]

    assert rows() == [(4, 8)] and rows("axes.rows=[1,2]", "axes.columns=[3,4]") == [(1, 3), (2, 4)]
    with pytest.raises(ConfigError, match=r"the sizes of mine go together.*axes\.rows, axes\.columns"):
        rows("axes.rows=[1,2]")


def test_a_held_out_size_that_is_asked_for_is_no_longer_held_out() -> None:
    plan = plan_of(["+workload=ch06_vector_add", "device=cpu", "axes.n=[300007,16]"])
    assert {(case.axes["n"], case.held_out) for case in plan.cases} == {(300007, False), (16, False)}
