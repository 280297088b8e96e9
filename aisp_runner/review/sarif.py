"""A review as SARIF 2.1.0 (OASIS, 2020), which code scanning services read."""

from __future__ import annotations

import json
from typing import Any

from aisp_runner import __version__
from aisp_runner.review.findings import Finding, Review
from aisp_runner.review.report import hit
from aisp_runner.review.rules import BLOCK, INFO, POLICY_RULES, WARN, table

LEVELS = {BLOCK: "error", WARN: "warning", INFO: "note"}
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(review: Review) -> str:
    """One run with a result a finding; waived ones are suppressed."""
    rules = {**table(), **POLICY_RULES}
    used = sorted({f.rule for f in review.findings})
    driver = {
        "name": "aisp review",
        "version": __version__,
        "rules": [
            {
                "id": rule,
                "shortDescription": {"text": rules[rule][1]},
                "defaultConfiguration": {"level": LEVELS[rules[rule][0]]},
            }
            for rule in used
        ],
    }
    results = [_result(f, used.index(f.rule)) for f in review.findings]
    told = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(told, indent=1) + "\n"


def _result(f: Finding, index: int) -> dict[str, Any]:
    where = {"artifactLocation": {"uri": f.file or "review.yaml"}, "region": {"startLine": max(1, f.line)}}
    made: dict[str, Any] = {
        "ruleId": f.rule,
        "ruleIndex": index,
        "level": LEVELS[f.severity],
        "message": {"text": f.message + hit(f)},
        "locations": [{"physicalLocation": where}],
        "properties": {"key": f.key, "workloads": list(f.targets)},
    }
    if f.waiver:
        made["suppressions"] = [{"kind": "external", "justification": f.waiver}]
    return made
