"""The plan on the disk, before and after a case."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.protect.evaluation.frozen_plan import FrozenPlan


@pytest.mark.parametrize("stage", ["preflight", "seal"])
@pytest.mark.parametrize(("odd", "status"), [("", "pass"), ("plan.json now is plan 12, not 34", "fail")])
def test_a_plan_that_changed_is_refused_at_either_end(stage: str, odd: str, status: str) -> None:
    bench: Any = SimpleNamespace(plan_changed=lambda: odd)
    found = getattr(FrozenPlan(), f"judge_{stage}")(bench, None)
    assert (found.stage, found.status) == (stage, status)
    assert found.observed == (odd or "plan.json is the plan that is run")
