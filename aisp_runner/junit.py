"""A run as JUnit XML, for the test page of a CI system: a testsuite a workload, a testcase a comparison.

INVALID is a failure, and so is a VALID case that does not meet what its gate demands. ERROR and INCONCLUSIVE are errors, as is
a gate left UNDECIDED: nothing was found against the candidate. A comparison that could not run here is skipped.

The layout is the common one (testsuites, testsuite, testcase; counts as attributes). `properties` inside a testcase are an
extension that GitLab, Jenkins and pytest know as well.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner import report, verdict
from aisp_runner.case import Skip
from aisp_runner.errors import ConfigError

Data = dict[str, Any]

_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, and those that steer a terminal."""


def write(path: Path, records: Sequence[Data], skips: Sequence[Skip], wrong: Sequence[str] = ()) -> None:
    """Writes the file. wrong: contradictions of the records themselves. Raises ConfigError where it cannot be written."""
    tree = ElementTree.ElementTree(to_xml(records, skips, wrong))
    ElementTree.indent(tree)
    try:
        tree.write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise ConfigError(
            f"--junit {path}: cannot be written: {error.strerror}. Name a file in a folder that is there."
        ) from None


def to_xml(records: Sequence[Data], skips: Sequence[Skip], wrong: Sequence[str] = ()) -> ElementTree.Element:
    """The root element, testsuites."""
    names = dict.fromkeys([*(record["workload"] for record in records), *(skip.workload for skip in skips)])
    suites = [
        _suite(name, [r for r in records if r["workload"] == name], [s for s in skips if s.workload == name]) for name in names
    ]
    suites += [_contradictions(wrong)] if wrong else []
    root = ElementTree.Element("testsuites", {"name": "aisp-run"})
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.set("time", _seconds(sum(float(suite.get("time", "0")) for suite in suites)))
    root.extend(suites)
    return root


def _suite(name: str, records: Sequence[Data], skips: Sequence[Skip]) -> ElementTree.Element:
    suite = _counted(name, [_case(record) for record in records] + [_skipped(skip) for skip in skips])
    if records:
        suite.set("timestamp", text(records[0]["started"])[:19])
        suite.insert(0, _properties({"question": records[0]["question"], "plan_sha256": records[0]["plan_sha256"]}))
    return suite


def _contradictions(wrong: Sequence[str]) -> ElementTree.Element:
    """A testsuite of its own for records that were changed after the run, whatever they say."""
    case = ElementTree.Element("testcase", {"name": "records agree with their samples", "classname": "aisp.records"})
    case.set("time", _seconds(0))
    for message in wrong[:1]:
        failure = ElementTree.SubElement(case, "failure", {"message": text(message), "type": "contradiction"})
        failure.text = text("\n".join(wrong))
    return _counted("records", [case])


def _counted(name: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    """A testsuite of these testcases."""
    suite = ElementTree.Element("testsuite", {"name": text(name)})
    suite.set("tests", str(len(cases)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", _seconds(sum(float(case.get("time", "0")) for case in cases)))
    suite.extend(cases)
    return suite


def _case(record: Data) -> ElementTree.Element:
    name = f"{record['candidate'] or record['variant']} {report.case_text(record)}"
    case = ElementTree.Element("testcase", {"name": text(name), "classname": text(f"aisp.{record['workload']}")})
    case.set("time", _seconds(record["stages_s"].get("total")))
    case.append(_properties(_measured(record)))
    found = _problem(record)
    if found:
        tag, message = found
        inner = ElementTree.SubElement(case, tag, {"message": text(message), "type": text((record["reasons"] or ["gate"])[0])})
        inner.text = text(report.reason_line(record) if record["status"] != "VALID" else message)
    return case


def _problem(record: Data) -> tuple[str, str] | None:
    """The element that tells what is wrong with a comparison, and its message."""
    status, outcome = record["status"], record["outcome"]
    if status != "VALID":
        return ("failure" if status == "INVALID" else "error"), f"{status}: {record['message']}"
    code = verdict.exit_code([record])
    if code == verdict.PASSED:
        return None
    message = f"{outcome}, and the gate demands {record['require']} (verify.require)"
    return ("failure" if code == verdict.FAILED else "error"), message


def _measured(record: Data) -> Data:
    """What is shown beside a case: the numbers of a VALID one that is not in quarantine, and its status in any case."""
    told: Data = {"status": record["status"], "baseline": record["baseline"], "quarantined": record["quarantined"]}
    if not record["quarantined"]:
        told["outcome"] = record["outcome"]
    if report.has_numbers(record):
        told |= {f"speedup.{key}": record["speedup"][key] for key in ("value", "low", "high", "confidence", "margin", "mde")}
        clock = record["clock"] or {}
        told |= {key: clock.get(key) for key in ("baseline_us", "candidate_us")}
        told |= {"clock.source": "device"} if report.stamped(record) else {}
    return told


def _skipped(skip: Skip) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"name": text(f"{skip.variant} {skip.device}")})
    case.set("classname", text(f"aisp.{skip.workload}"))
    case.set("time", _seconds(0))
    ElementTree.SubElement(case, "skipped", {"message": text(skip.reason)})
    return case


def _properties(values: Data) -> ElementTree.Element:
    inner = ElementTree.Element("properties")
    for name, value in values.items():
        if value is None:
            continue
        shown = f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
        ElementTree.SubElement(inner, "property", {"name": name, "value": text(shown)})
    return inner


def text(value: Any) -> str:
    """A value as XML may hold it: what no XML can write, and what steers a terminal, is a question mark."""
    return _NOT_XML.sub("?", str(value))


def _seconds(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "0.000"
