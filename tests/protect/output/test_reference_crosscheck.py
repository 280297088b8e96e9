"""Which of the two arms is held against the reference by which protection, and a real run whose reference is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, UPSET_BY_LOAD, accepted, case, tried

from aisp_runner.forkserver import ForkServer
from aisp_runner.protect.output.reference_crosscheck import ReferenceCrosscheck
from aisp_runner.protect.output.tolerance_bound import ToleranceBound
from protect.output.findings import BATCH, comparison, judge

pytest_plugins = ("shared_server",)

BASELINE = dataclasses.replace(BATCH, arm="baseline")


@pytest.mark.parametrize(("wrong", "status"), [(0, "pass"), (1, "fail")])
def test_the_baseline_is_held_against_the_reference(wrong: int, status: str) -> None:
    found = ReferenceCrosscheck().judge_verify(judge(), BASELINE, [comparison("c"), comparison("d", wrong=wrong, max_abs=2.0)])
    assert found is not None and (found.status, found.arm, found.limit) == (status, "baseline", "rtol 0.001, atol 0.5")
    assert found.observed.startswith("the workload's own baseline disagrees with its reference: 1 of 200") == bool(wrong)


def test_each_looks_at_its_own_arm_alone() -> None:
    wrong = [comparison("c", wrong=9)]
    assert ReferenceCrosscheck().judge_verify(judge(), BATCH, wrong) is None
    assert ToleranceBound().judge_verify(judge(), BASELINE, wrong) is None


FORGETFUL = """
def reference(a, b):
    return a

def candidate(a, b, c):
    c.copy_({given})
"""


@pytest.mark.parametrize(
    ("given", "reasons"),
    [("a", ["output.reference_crosscheck"]), ("a + b", ["output.reference_crosscheck", "output.tolerance_bound"])],
    ids=["candidate copies the mistake", "candidate is right"],
)
def test_a_reference_that_drops_a_term_is_found_by_the_baseline(
    server: ForkServer, tmp_path: Path, given: str, reasons: list[str]
) -> None:
    made: dict[str, Any] = tried(case(tmp_path, FORGETFUL.format(given=given)), server, tmp_path)
    assert made["status"] == "INVALID" and [r for r in made["reasons"] if r not in UPSET_BY_LOAD] == reasons
    observed = [e["observed"] for e in made["evidence"] if e["status"] == "fail"]
    assert any("the workload's own baseline disagrees with its reference" in o for o in observed)


def test_a_reference_that_is_right_agrees(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, HONEST), server, tmp_path)
    assert accepted(made), made["message"]
    seen = [e for e in made["evidence"] if e["protection"] == "output.reference_crosscheck"]
    assert seen and {(e["status"], e["arm"]) for e in seen} == {("pass", "baseline")}
