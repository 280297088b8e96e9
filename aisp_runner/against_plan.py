"""Whether a record tells of the case that the plan holds: what was compared, on what terms, and by which protections.

A record keeps most of these terms itself. The rest (shapes, distributions, knobs, limits) is bound by `plan_sha256` alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from aisp_runner.case import Case, Plan
from aisp_runner.recheck import ESSENTIAL, Difference

RATE_TOLERANCE = 0.001
"""How far, as a fraction, a rate may lie from the declared work over the candidate's time: room for rounding."""

_RULE = re.compile(r"rtol (\S+), atol (\S+)")
_ENOUGH = re.compile(r"all, once, in (\d+) rounds or more of (\d+) sets")


def matched(records: Sequence[dict[str, Any]], plan: Plan) -> tuple[list[Case | None], list[Case]]:
    """The plan's case of each record, and the cases that no record tells of.

    None: the plan has no such case. A record beyond the last of several equal cases gets that last one.
    """
    waiting: dict[tuple[Any, ...], list[Case]] = {}
    for case in plan.cases:
        waiting.setdefault(identity(case), []).append(case)
    told: Counter[tuple[Any, ...]] = Counter()
    found: list[Case | None] = []
    for record in records:
        named = claimed_identity(record)
        cases = waiting.get(named)
        found.append(cases[min(told[named], len(cases) - 1)] if cases else None)
        told[named] += 1
    return found, [case for named, cases in waiting.items() for case in cases[told[named] :]]


def in_order(records: Sequence[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """The records in the order of the plan's cases; those of none come last."""
    places = {id(case): place for place, case in enumerate(plan.cases)}
    of = [places[id(case)] if case is not None else len(places) for case in matched(records, plan)[0]]
    return [records[i] for i in sorted(range(len(records)), key=of.__getitem__)]


def differences(record: dict[str, Any], case: Case) -> list[Difference]:
    """What a record, which the schema accepts, says otherwise than its case."""
    return [*_terms(record, case), *_rules(record, case), *_protections(record, case), *_amounts(record, case)]


def identity(case: Case) -> tuple[Any, ...]:
    """What a comparison is known by, whatever its terms are."""
    names = (case.workload, case.optimized.name, case.baseline.name, case.candidate, case.device, case.held_out, case.gpu)
    return (*names, tuple(sorted(case.axes.items())))


def claimed_identity(record: dict[str, Any]) -> tuple[Any, ...]:
    """The same of a record."""
    where = record["case"]
    names = (record["workload"], record["variant"], record["baseline"], record["candidate"], where["device"], where["held_out"])
    return (*names, where.get("gpu", ""), tuple(sorted(where["axes"].items())))


def _terms(record: dict[str, Any], case: Case) -> list[Difference]:
    """What the record repeats of its case word for word."""
    sources = {
        f"{v.source.path}::{name}": digest
        for v in (case.reference, case.baseline, case.optimized)
        for name, digest in v.source.sha256.items()
    }
    weak = any(name not in case.protections for name in ESSENTIAL)
    pairs = [(key, getattr(case, key), record[key]) for key in ("question", "group", "phase", "require")]
    pairs.append(("unprotected", weak, record.get("unprotected", False)))
    for name in sorted({*sources, *record["sources"]}):
        pairs.append((f"sources[{name}]", sources.get(name), record["sources"].get(name)))
    if record["clock"]:
        pairs.append(("clock.claim", case.claim, record["clock"]["claim"]))
    if case.gpu:
        pairs.append(("lane.gpu.uuid", case.gpu, ((record.get("lane") or {}).get("gpu") or {}).get("uuid")))
    if record["speedup"]:
        pairs.append(("speedup.margin", case.measure.margin, record["speedup"]["margin"]))
    return [Difference(what, _text(wanted), _text(found)) for what, wanted, found in pairs if wanted != found]


def _rules(record: dict[str, Any], case: Case) -> list[Difference]:
    """The tolerances and the number of rounds that the protections say they judged by, in their evidence."""
    allowed = {(f"{t.rtol:g}", f"{t.atol:g}"): f"rtol {t.rtol:g}, atol {t.atol:g}" for t in case.outputs}
    enough = (str(case.measure.min_rounds), str(case.measure.processes))
    found = []
    for e in record["evidence"]:
        if e["protection"] == "output.tolerance_bound" and (rule := _RULE.match(e["limit"])) and rule.groups() not in allowed:
            found.append(Difference("tolerance, output.tolerance_bound", " or ".join(allowed.values()), e["limit"]))
        if e["protection"] == "statistical.whole_sample" and (rule := _ENOUGH.match(e["limit"])) and rule.groups() != enough:
            wanted = f"{enough[0]} rounds or more of {enough[1]} sets"
            found.append(Difference("rounds, statistical.whole_sample", wanted, e["limit"]))
    unknown = sorted({*record["errors"]} - {t.name for t in case.outputs})
    found += [Difference(f"errors.{name}", "an output of the plan", "one that it does not have") for name in unknown]
    return list(dict.fromkeys(found))


def _protections(record: dict[str, Any], case: Case) -> list[Difference]:
    """A protection that the plan has leaves no evidence of being off; one that it lacks leaves no other."""
    off = {e["protection"] for e in record["evidence"] if is_off(e)}
    working = {e["protection"] for e in record["evidence"] if not is_off(e)}
    found = [Difference(f"protection {name}", "on", "off") for name in sorted(off & {*case.protections})]
    return found + [Difference(f"protection {name}", "off", "on") for name in sorted(working - {*case.protections})]


def is_off(evidence: dict[str, Any]) -> bool:
    """Whether this line of evidence says that its protection was switched off."""
    return (
        evidence["status"] == "unavailable" and evidence["stage"] == "preflight" and "is switched off" in evidence["observed"]
    )


def _amounts(record: dict[str, Any], case: Case) -> list[Difference]:
    """How much was measured, and the rates that follow from the declared work; of a VALID record."""
    if record["status"] != "VALID":
        return []
    clock, wanted = record["clock"], case.measure
    sets, rounds = clock.get("processes"), clock.get("rounds") or 0
    found = [] if sets == wanted.processes else [Difference("clock.processes", str(wanted.processes), str(sets))]
    least, most = wanted.min_rounds * wanted.processes, max(wanted.rounds, wanted.min_rounds) * wanted.processes
    if not least <= rounds <= most:
        found.append(Difference("clock.rounds", f"{least} to {most}", str(rounds)))
    controlled = wanted.control or case.phase == "gate"
    if controlled != any(s["arm"] == "control" for s in record["samples"]):
        found.append(Difference("samples of a control", "some" if controlled else "none", "none" if controlled else "some"))
    seconds = (clock.get("candidate_us") or 0.0) / 1e6
    for name, work in (("bytes_per_s", case.work_bytes), ("flops_per_s", case.work_flops)):
        rate = (record["roofline"] or {}).get(name)
        right = work / seconds if work and seconds > 0 else None
        if (rate is None) != (right is None) or (rate and right and not math.isclose(rate, right, rel_tol=RATE_TOLERANCE)):
            found.append(Difference(f"roofline.{name}", _text(right), _text(rate)))
    return found


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
