"""Runs as aisp-run leaves them, made of records that were published, and ways to doctor them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aisp_runner import chain, record
from aisp_runner.case import Case, Measure, Plan, Source, Tensor, Variant
from aisp_runner.plan_file import save_plan
from aisp_runner.verify_record import Verified

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
MEASURED = [json.loads(line) for line in sorted((RESULTS / "cpu" / "ch12.jsonl").read_text().splitlines(), key=len)[:2]]
"""The shortest two of the cases that were measured on a CPU; both VALID."""
KEY = b"a key of thirty-two bytes, or so."
Records = list[dict[str, Any]]


def case_of(r: dict[str, Any]) -> Case:
    """The case that a published record is of, as far as the record tells."""
    files: dict[str, dict[str, str]] = {}
    for name, digest in r["sources"].items():
        path, _, part = name.partition("::")
        files.setdefault(path, {})[part] = digest
    sources = [Source(path, digests) for path, digests in files.items()]
    limits = "; ".join(e["limit"] for e in r["evidence"])
    rule, least = re.search(r"rtol (\S+), atol ([^;\s]+)", limits), re.search(r"in (\d+) rounds or more", limits)
    assert rule and least
    rtol, atol = float(rule[1]), float(rule[2])
    rates, seconds = r["roofline"] or {}, r["clock"]["candidate_us"] / 1e6
    work = {
        name: rates[rate] * seconds
        for name, rate in (("work_bytes", "bytes_per_s"), ("work_flops", "flops_per_s"))
        if rate in rates
    }
    return Case(
        **{key: r[key] for key in ("workload", "question", "group", "phase", "require", "candidate")},
        **{key: r["case"][key] for key in ("axes", "held_out", "device")},
        **work,
        origin="",
        inputs=(),
        outputs=tuple(Tensor(name, (1,), "float32", "output", rtol=rtol, atol=atol) for name in r["errors"]),
        reference=Variant("reference", sources[0], "reference"),
        baseline=Variant(r["baseline"], sources[0], "baseline"),
        optimized=Variant(r["variant"], sources[-1], "optimized"),
        claim=r["clock"]["claim"],
        measure=Measure(processes=r["clock"]["processes"], min_rounds=int(least[1]), margin=r["speedup"]["margin"]),
        protections={name: {} for name in {e["protection"] for e in r["evidence"]}},
    )


PLAN = Plan(tuple(map(case_of, MEASURED)))


def a_run(records: Records = MEASURED, plan: Plan = PLAN) -> Path:
    """A run's folder with these records, chained and, where the environment names a key, signed."""
    folder = Path("run")
    save_plan(plan, folder / "plan.json")
    for r in records:
        record.append(folder / record.FILE, {**copy.deepcopy(r), "plan_sha256": PLAN.sha256()})
    return folder


def lines(folder: Path) -> Records:
    return [json.loads(line) for line in (folder / record.FILE).read_text().splitlines()]


def write(folder: Path, records: Records) -> None:
    (folder / record.FILE).write_text("".join(json.dumps(r) + "\n" for r in records))


def doctor(folder: Path, change: Callable[[Records], Any]) -> None:
    """Edit a run's records as with an editor. change: edits the list in place, or gives another one."""
    records = lines(folder)
    given = change(records)
    write(folder, given if isinstance(given, list) else records)


def rebuild(folder: Path) -> None:
    """What a forger does after doctoring: a chain that is whole again."""
    made: Records = []
    for r in lines(folder):
        made.append(chain.bound(r, chain.End(made[-1] if made else None, len(made), False)))
    write(folder, made)


def contradictions(verified: Verified) -> list[str]:
    return [finding.line() for finding in verified.findings if finding.contradicts]


def notes(verified: Verified) -> list[str]:
    return [finding.line() for finding in verified.findings if not finding.contradicts]
