"""What is said in which form, and what a change of one value means."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from aisp_runner import aisp
from aisp_runner.content import content_root
from aisp_runner.review import report, sarif
from aisp_runner.review.changes import Change
from aisp_runner.review.findings import Finding, Review
from aisp_runner.review.rules import POLICY_RULES, meaning, table
from tests.review.copies import Edit, applied, workload

LOOSER = Edit("tolerance-loosened", workload("ch12_kernel_fusion"), "rtol: 1.0e-6", "rtol: 1.0e-5", "rtol:")

# What is said in which form


def finding(**changes: object) -> Finding:
    usual = Finding(
        "tolerance-loosened", "block", "loosened 10x", "conf/a.yaml", 3, "outputs.y.rtol", ("w1", "w2", "w3", "w4"), 4
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def made_of(*findings: Finding) -> Review:
    return Review(findings, ("conf/a.yaml",), 9, 4, "aaa", "bbb")


def test_the_terminal_says_what_is_blocked_and_how_to_accept_it() -> None:
    lines = report.text(made_of(finding())).splitlines()
    assert lines[0] == "BLOCK  conf/a.yaml:3: [tolerance-loosened] loosened 10x  [4 workloads: w1, w2, w3 ...]"
    assert 'rule: tolerance-loosened, workloads: "*", key: "outputs.y.rtol"' in lines[4]
    assert (
        lines[-1] == "1 block, 0 warn, 0 info; 1 file differs, 4 of 9 workloads affected. aaa -> bbb, rules and waivers of aaa."
    )


def test_what_a_config_says_cannot_forge_an_annotation() -> None:
    evil = finding(message="a\n::error file=x::b %0A \x1b[31m", file="conf/a,line=9::b.yaml")
    (line, _) = report.github(made_of(evil)).splitlines()
    assert line.startswith(
        "::error file=conf/a%2Cline=9%3A%3Ab.yaml,line=3,title=tolerance-loosened::a%0A::error file=x::b %250A "
    )
    assert "\x1b" not in line


def test_ten_annotations_at_most_most_severe_first() -> None:
    made = made_of(*[finding(line=n) for n in range(12)], finding(severity="info"), finding(waiver="me"))
    lines = report.github(made).splitlines()
    assert sum(line.startswith("::error") for line in lines) == 10 and lines[10] == "2 more findings are in the summary."


def test_the_page_folds_away_what_need_not_be_read() -> None:
    page = report.markdown(made_of(finding(), finding(severity="info", message="a|b")))
    head, _, folded = page.partition("<details>")
    assert "Config review: blocked" in head and head.count("tolerance-loosened") == 1 and r"a\|b" in folded


def test_what_a_config_says_makes_no_link_or_image_on_the_page() -> None:
    page = report.markdown(made_of(finding(file="`[y](z)`.yaml", message="![x](http://a.example) <img>\n`code` a|b")))
    assert r"| \`\[y\](z)\`.yaml:3 |" in page
    assert r"!\[x\](http://a.example) \<img\> \`code\` a\|b" in page


def test_sarif_names_rule_level_place_and_suppression() -> None:
    run = json.loads(sarif.sarif(made_of(finding(), finding(rule="waiver-new", severity="warn", waiver="me: why"))))["runs"][0]
    first, second = run["results"]
    assert (first["ruleId"], first["level"]) == ("tolerance-loosened", "error") and "suppressions" not in first
    assert first["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}
    assert second["suppressions"] == [{"kind": "external", "justification": "me: why"}] and second["level"] == "warning"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["tolerance-loosened", "waiver-new"]


@pytest.mark.parametrize(("form", "starts"), [([], "BLOCK"), (["--json"], "{"), (["--github"], "::error"), (["--sarif"], "{")])
def test_the_command_ends_with_2_where_something_is_blocked(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: list[str], starts: str
) -> None:
    head = tmp_path / "head"
    shutil.copytree(small, head)
    applied([LOOSER], head)
    summary = tmp_path / "summary.md"
    assert aisp.main(["review", str(small), str(head), *form, "--summary", str(summary)]) == 2
    assert capsys.readouterr().out.startswith(starts) and summary.read_text().startswith("## Config review: blocked")


# The rules


def test_every_rule_is_on_the_page_with_its_severity() -> None:
    page = (content_root() / "docs" / "review.md").read_text("utf-8")
    rows = {**table(), **POLICY_RULES}
    assert len(table()) > 25
    assert [rule for rule, (severity, when) in rows.items() if f"| `{rule}` | {severity} | {when} |" not in page] == []


@pytest.mark.parametrize(
    ("key", "old", "new", "rule"),
    [
        ("outputs.y.rtol", 0.0, 1e-3, "tolerance-loosened"),
        ("outputs.y.dtype", "float32", "int32", "dtype-lowered"),
        ("outputs.y.dtype", "float16", "bfloat16", "dtype-lowered"),
        ("outputs.y.shape", ["n"], None, "work-shrunk"),
        ("inputs.x.shape", None, ["n"], "changed"),
        ("inputs.x.low", 0.0, 0.5, "inputs-easier"),
        ("inputs.x.high", 1.0, 2.0, "inputs-harder"),
        ("ranks", 4, 2, "work-shrunk"),
        ("axes.cuda.n", [1024, 4096], None, "work-shrunk"),
        ("verify.require", "faster", "not_slower", "phase-lowered"),
        ("protections.timing.x", None, "on", "protection-on"),
        ("measure.mode", "auto", "wall", "statistics-weakened"),
        ("measure.device_clock", "off", "cupti", "statistics-strengthened"),
        ("environment.lock_clocks", True, False, "environment-relaxed"),
        ("environment.require.driver", ">=580", None, "environment-relaxed"),
        ("environment.gpus", 1, 2, "environment-tightened"),
        ("limits.batch_seconds", 20.0, 30.0, "changed"),
        ("optimized.fast", None, "fast", "variant-new"),
        ("source", "kernels/a.py", "kernels/b.py", "target-code"),
        ("reference", "a", "b", "reference-changed"),
        ("something.else", 1, 2, "changed"),
    ],
)
def test_what_a_change_means(key: str, old: object, new: object, rule: str) -> None:
    meant = meaning(Change("workload", "w", key, old, new, "f", 1), [key])
    assert meant is not None and meant.rule == rule
