"""The plan on the disk, before and after a case."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import bench_of, case

from aisp_runner.case import Plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.protect.evaluation.frozen_plan import FrozenPlan

pytest_plugins = ("shared_server",)


@pytest.mark.parametrize("stage", ["preflight", "seal"])
@pytest.mark.parametrize(("odd", "status"), [("", "pass"), ("plan.json now is plan 12, not 34", "fail")])
def test_a_plan_that_changed_is_refused_at_either_end(stage: str, odd: str, status: str) -> None:
    bench: Any = SimpleNamespace(plan_changed=lambda: odd, case_changed=lambda case: False)
    found = getattr(FrozenPlan(), f"judge_{stage}")(bench, None)
    assert (found.stage, found.status) == (stage, status)
    assert found.observed == (odd or "plan.json is the plan that is run")


@pytest.mark.parametrize(("field", "value"), [("batch_seconds", 600.0), ("memory_gib", 64.0)], ids=["time", "memory"])
def test_a_limit_that_changes_in_memory_is_refused_though_the_file_is_whole(
    field: str, value: float, tmp_path: Path, server: ForkServer
) -> None:
    given = case(tmp_path)
    bench = bench_of(Plan((given,)), tmp_path, server)
    assert FrozenPlan().judge_preflight(bench, given).status == "pass"
    before = getattr(given.limits, field)
    object.__setattr__(given.limits, field, value)
    try:
        found = FrozenPlan().judge_seal(bench, given)
    finally:
        object.__setattr__(given.limits, field, before)
    assert bench.plan_changed() == "" and found.status == "fail"
    assert found.observed == "the case in memory is not the one that was written down"
    assert FrozenPlan().judge_seal(bench, given).status == "pass"
