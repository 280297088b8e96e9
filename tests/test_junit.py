"""JUnit XML of a run: what a CI system's test page reads, parsed back and held to the layout that these systems share."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import aisp, junit
from aisp_runner.case import Plan, Skip
from aisp_runner.plan_file import save_plan
from aisp_runner.record import append
from tests.records import refused_record, valid_record

SKIP = Skip("ch06_vector_add", "triton_add", "cuda", "no NVIDIA GPU")
COUNTS = ("tests", "failures", "errors", "skipped")

# The XSD that Jenkins' xunit plugin publishes, as far as it is used here: the attributes of each element.
LAYOUT: dict[str, set[str]] = {
    "testsuites": {"name", "time", *COUNTS},
    "testsuite": {"name", "time", "timestamp", *COUNTS},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "skipped": {"message"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"properties", "skipped", "failure", "error"},
}


def parsed(records: list[dict[str, Any]], tmp_path: Path, skips: tuple[Skip, ...] = (), wrong: tuple[str, ...] = ()) -> Any:
    """The root as another program reads it from the file, after its layout was checked."""
    junit.write(tmp_path / "out.xml", records, skips, wrong)
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.keys()) <= LAYOUT[element.tag]
        assert {inner.tag for inner in element} <= CHILDREN.get(element.tag, set())
    for suite in [root, *root]:
        tags = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
        assert {key: int(suite.get(key, "")) for key in COUNTS} == {key: len([*suite.iter(tags[key])]) for key in COUNTS}
        assert float(suite.get("time", "")) >= 0
    for case in root.iter("testcase"):
        assert case.get("name") and case.get("classname") and len([c for c in case if c.tag != "properties"]) <= 1
    return root


def properties(element: Any) -> dict[str, str]:
    return {p.get("name"): p.get("value") for p in element.find("properties")}


def test_a_valid_case_passes_with_its_speed_up_and_interval(tmp_path: Path) -> None:
    record = valid_record()
    (suite,) = parsed([record], tmp_path)
    (case,) = suite.findall("testcase")
    assert (suite.get("name"), suite.get("timestamp")) == ("ch06_vector_add", "2025-01-02T03:04:05")
    assert (case.get("name"), case.get("classname")) == ("vectorized n=262144 cpu", "aisp.ch06_vector_add")
    assert case.get("time") == "2.900" and case.find("failure") is None
    told = properties(case)
    for key in ("value", "low", "high"):
        assert float(told[f"speedup.{key}"]) == pytest.approx(record["speedup"][key], rel=1e-5)
    assert (told["status"], told["outcome"], told["baseline"]) == ("VALID", "FASTER", "chunked")
    assert float(told["baseline_us"]) == pytest.approx(record["clock"]["baseline_us"], rel=1e-5)


@pytest.mark.parametrize(("status", "tag"), [("INVALID", "failure"), ("INCONCLUSIVE", "error"), ("ERROR", "error")])
def test_what_is_not_valid_is_told_without_a_number(status: str, tag: str, tmp_path: Path) -> None:
    ((case,),) = ([*suite.findall("testcase")] for suite in parsed([refused_record(status)], tmp_path))
    problem = case.find(tag)
    assert problem.get("type") == "memory.late_writes"
    assert problem.get("message") == f"{status}: 8 of 8 output slots were written after DONE (limit: 0 slots)"
    assert problem.text.startswith(f"{status}: ch06_vector_add / vectorized / n=262144 cpu: memory.late_writes: 8 of 8")
    assert not [name for name in properties(case) if name.startswith("speedup")]


@pytest.mark.parametrize(
    ("phase", "require", "outcome", "tag"),
    [
        ("gate", "faster", "SAME", "failure"),
        ("gate", "not_slower", "SLOWER", "failure"),
        ("gate", "faster", "UNDECIDED", "error"),
        ("gate", "faster", "FASTER", None),
        ("gate", "valid", "SLOWER", None),
        ("detect", "faster", "SLOWER", None),
    ],
)
def test_a_valid_case_fails_where_its_gate_does(
    phase: str, require: str, outcome: str, tag: str | None, tmp_path: Path
) -> None:
    ((case,),) = (
        [*suite.findall("testcase")]
        for suite in parsed([valid_record(phase=phase, require=require, outcome=outcome)], tmp_path)
    )
    assert [inner.tag for inner in case if inner.tag != "properties"] == ([tag] if tag else [])
    if tag:
        assert case.find(tag).get("message") == f"{outcome}, and the gate demands {require} (verify.require)"


def test_a_case_in_quarantine_shows_no_number(tmp_path: Path) -> None:
    ((case,),) = ([*suite.findall("testcase")] for suite in parsed([valid_record(quarantined=True)], tmp_path))
    assert properties(case) == {"status": "VALID", "baseline": "chunked", "quarantined": "true"}


def test_each_workload_is_a_suite_with_what_was_skipped(tmp_path: Path) -> None:
    records = [valid_record(), refused_record(), valid_record(workload="other")]
    root = parsed(records, tmp_path, (SKIP,))
    assert [(suite.get("name"), *(suite.get(key) for key in COUNTS)) for suite in root] == [
        ("ch06_vector_add", "3", "1", "0", "1"),
        ("other", "1", "0", "0", "0"),
    ]
    assert tuple(root.get(key) for key in COUNTS) == ("4", "1", "0", "1")
    assert root.find("testsuite/testcase/skipped").get("message") == "no NVIDIA GPU"


def test_what_no_xml_can_hold_and_what_steers_a_terminal_is_a_question_mark(tmp_path: Path) -> None:
    odd = 'a\x00b\x1b[31mc\x9bd\ud800e\ufffff"<&>]]>\u202e'
    root = parsed([refused_record(message=odd, workload=odd, question=odd)], tmp_path)
    message = root.find("testsuite/testcase/failure").get("message")
    assert message.startswith('INVALID: a?b?[31mc?d?e?f"<&>]]>')
    assert root.find("testsuite").get("name").startswith("a?b?[31m")


def test_records_that_contradict_themselves_fail_whatever_they_say(tmp_path: Path) -> None:
    root = parsed([valid_record()], tmp_path, wrong=("the speed-up is not what the samples give", "and another"))
    failure = root.find("testsuite[@name='records']/testcase/failure")
    assert failure.get("message") == "the speed-up is not what the samples give" and "and another" in failure.text


def test_show_writes_it_beside_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan((), (SKIP,))
    save_plan(plan, Path("runs/a/plan.json"))
    append("runs/a/records.jsonl", valid_record(plan_sha256=plan.sha256()))
    assert aisp.main(["show", "runs/a", "--markdown", "--junit", "junit.xml"]) == 0
    assert capsys.readouterr().out.startswith("| workload |")
    root = ElementTree.parse("junit.xml").getroot()
    assert (root.get("tests"), root.get("skipped")) == ("2", "1")
    assert aisp.main(["show", "runs/a", "--junit", "no/such/folder/junit.xml"]) == 2
    assert "--junit no/such/folder/junit.xml: cannot be written" in capsys.readouterr().err
