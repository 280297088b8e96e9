"""A review for a terminal, for a page of Markdown, as annotations of a GitHub workflow, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from aisp_runner import workflow
from aisp_runner.report import clean, escaped
from aisp_runner.review.findings import Finding, Review
from aisp_runner.review.rules import BLOCK, INFO, SEVERITIES, WARN

NAMED = 3
"""Workloads that a line names before it only counts them."""
ANNOTATIONS = 10
"""GitHub shows no more of a kind for one step."""
LEVELS = {BLOCK: "error", WARN: "warning", INFO: "notice"}
WAIVER = """waivers:            # review.yaml, in a change of its own
  - {{rule: {rule}, workloads: {workloads}, key: "{key}", owner: WHO, reason: FOUR WORDS OR MORE, expires: YYYY-MM-DD}}"""


def text(review: Review) -> str:
    """A line a finding, most severe first, and how to accept the first that blocks."""
    lines = []
    for f in review.findings:
        word = "WAIVED" if f.waiver else f.severity.upper()
        lines.append(f"{word:<6} {f.file}:{f.line}: [{f.rule}] {f.message}{hit(f)}")
        lines += [f"       accepted by {f.waiver}"] if f.waiver else []
    first = next((f for f in review.findings if f.blocks), None)
    lines += [""] if lines else []
    if first is not None:
        lines += ["To accept a finding:", *(f"  {line}" for line in waiver(first).splitlines()), ""]
    return "\n".join(clean(line) for line in [*lines, footer(review)]) + "\n"


def hit(f: Finding) -> str:
    """[10 workloads: a, b, c ...]; nothing where none is hit."""
    if not f.workloads:
        return ""
    more = " ..." if len(f.targets) > NAMED else ""
    return f"  [{f.workloads} workload{'s' * (f.workloads != 1)}: {', '.join(f.targets[:NAMED])}{more}]"


def waiver(f: Finding) -> str:
    """What to write into review.yaml to accept it."""
    return WAIVER.format(rule=f.rule, workloads=f.targets[0] if len(f.targets) == 1 else '"*"', key=f.key)


def footer(review: Review) -> str:
    """How much there is of each, of what."""
    counts = {severity: sum(f.severity == severity and not f.waiver for f in review.findings) for severity in SEVERITIES}
    waived = sum(bool(f.waiver) for f in review.findings)
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items())
    count = len(review.files)
    changed = f"{count} file differs" if count == 1 else f"{count} files differ"
    told += f", {waived} waived" if waived else ""
    told += f"; {changed}, {review.affected} of {review.workloads} workloads affected. "
    return f"{told}{review.base} -> {review.head}, rules and waivers of {review.base}."


def markdown(review: Review) -> str:
    """A page: a table of what blocks and warns, and the rest folded away."""
    verdict = {0: "nothing blocks", 2: "blocked", 3: "cannot be composed"}[review.exit_code]
    loud = [f for f in review.findings if f.severity != INFO and not f.waiver]
    quiet = [f for f in review.findings if f not in loud]
    lines = [f"## Config review: {verdict}", ""]
    if loud:
        lines += ["| | rule | what | where | workloads |", "|---|---|---|---|---:|", *(_row(f) for f in loud), ""]
    if quiet:
        summary = f"{len(quiet)} more: informative or waived"
        table = ["| | rule | what | where | workloads |", "|---|---|---|---|---:|", *(_row(f) for f in quiet)]
        lines += ["<details>", f"<summary>{summary}</summary>", "", *table, "", "</details>", ""]
    return "\n".join([*lines, footer(review)]) + "\n"


def _row(f: Finding) -> str:
    word = f"waived by {f.waiver}" if f.waiver else f.severity
    what, where, workloads = (_cell(cell) for cell in (f.message, f"{f.file}:{f.line}", hit(f).strip(" []") or "-"))
    return f"| {_cell(word)} | `{f.rule}` | {what} | {where} | {workloads} |"


def _cell(value: str) -> str:
    """What a config says makes no link and no image here."""
    text = escaped(clean(value))
    for character in "[]>":
        text = text.replace(character, f"\\{character}")
    return text


def github(review: Review) -> str:
    """A workflow command a finding, at most ten, most severe first; what is left is told in the last line."""
    told = [f for f in review.findings if f.severity != INFO and not f.waiver]
    lines = [_annotation(f) for f in told[:ANNOTATIONS]]
    if len(told) > ANNOTATIONS:
        lines.append(f"{len(told) - ANNOTATIONS} more findings are in the summary.")
    return "\n".join([*lines, footer(review)]) + "\n"


def _annotation(f: Finding) -> str:
    return workflow.annotation(LEVELS[f.severity], f.file, f.line, f.rule, f.message + hit(f))


def as_json(review: Review) -> str:
    """Everything, for programs."""
    told = asdict(review) | {"exit_code": review.exit_code}
    return json.dumps(told, indent=1) + "\n"
