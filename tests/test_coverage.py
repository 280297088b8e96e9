"""The list of issues, what claims to be against them, and the page that is made of both."""

from __future__ import annotations

from collections import Counter

from aisp_runner.audit.attack import attacks
from aisp_runner.audit.coverage import OPEN, issues, page
from aisp_runner.content import content_root
from aisp_runner.protect import registry


def test_there_are_94_issues_in_eleven_categories() -> None:
    counted = Counter(issue.partition(".")[0] for issue in issues())
    assert sum(counted.values()) == 94
    assert counted == {
        "timing": 7, "output": 10, "workload": 10, "location": 7, "memory": 7, "cuda": 10, "compile": 7,
        "distributed": 8, "environment": 12, "statistical": 8, "evaluation": 8,
    }  # fmt: skip


def test_protections_and_attacks_name_issues_that_are_on_the_list() -> None:
    assert {issue for kind in registry.known().values() for issue in kind.covers} <= set(issues())
    assert {attack.issue for attack in attacks()} <= set(issues())


def test_the_page_is_what_the_protections_attacks_and_kept_audits_make_it() -> None:
    shown = (content_root() / "docs" / "coverage.md").read_text("utf-8")
    assert shown == page(), "run: python -m aisp_runner.audit.coverage"


def test_an_issue_without_an_attack_that_was_seen_to_hold_is_open() -> None:
    attacked = {attack.issue for attack in attacks()}
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == 94
    for row in rows:
        issue = row.split("`")[1]
        assert issue in attacked or f"| {OPEN}: " in row, issue
