"""Why a case was not accepted: which protection fired, what it saw, what that means, and how an honest author goes on.

The prose is the documentation's own (sections.py), the numbers are the record's, and nothing is judged again.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from aisp_runner import report, undecided, verdict
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.intervals import POWER
from aisp_runner.protect import base
from aisp_runner.report import clean
from aisp_runner.sections import LEADS, Section, sections

DECISIVE = {"INVALID": base.FAIL, "INCONCLUSIVE": base.UNAVAILABLE, "ERROR": base.ERROR}
"""The evidence that a status rests on."""
GENERAL = {"INCONCLUSIVE": "unavailable", "ERROR": "error"}
"""Sections of docs/explain.md on a protection that refused nothing: it was switched off, or it raised."""
PRESETS = (("standard", 5), ("publication", 10))
"""Sets of processes by measure setting, as conf/measure has them; a test holds them equal."""
SHOWN = 3
"""Findings of one protection that are printed; `--json` has all."""

Data = dict[str, Any]
Lines = list[tuple[str, str]]


def is_accepted(record: Data) -> bool:
    """VALID, decided, not withheld, and what its gate asks for."""
    decided = record["status"] == "VALID" and record["outcome"] != "UNDECIDED"
    return decided and not record["quarantined"] and verdict.exit_code([record]) == verdict.PASSED


def choose(records: Sequence[Data], piece: str | None) -> list[int]:
    """Numbers, from 1, of the cases that are meant; without a piece, of those that were not accepted.

    piece: a number as the table counts, or text out of workload/variant/case. Raises ConfigError where no case is meant.
    """
    if piece is None:
        return [number for number, record in enumerate(records, 1) if not is_accepted(record)]
    if found := matching(records, piece):
        return found
    cases = [f"{number} {_name(record)}" for number, record in enumerate(records, 1)]
    more = f" and {len(cases) - 8} more" if len(cases) > 8 else ""
    near = did_you_mean(_tight(piece), words(records))
    raise ConfigError(f"{piece!r} is no case of this run.{near} Cases: {'; '.join(cases[:8]) or 'none'}{more}.")


def matching(records: Sequence[Data], piece: str) -> list[int]:
    """Numbers of the cases that a piece means. One that the table lacks may be a whole number of a name (n=262144), else it is
    a mistake.
    """
    if piece.isdecimal() and 1 <= int(piece) <= len(records):
        return [int(piece)]
    wanted = re.escape(_tight(piece))
    pattern = rf"(?<![0-9A-Za-z]){wanted}(?![0-9A-Za-z])" if piece.isdecimal() else wanted
    return [number for number, record in enumerate(records, 1) if wanted and re.search(pattern, _name(record))]


def words(records: Sequence[Data]) -> set[str]:
    """What a case may be called: workload, variant, case, and the longer names made of them."""
    names = [_name(record) for record in records]
    return {word for name in names for word in (name, name.rsplit("/", 1)[0], *name.split("/"))}


def explain(records: Sequence[Data], numbers: Sequence[int]) -> Data:
    """Everything that is told, as data: one entry of `explained` a case."""
    entries = [_case(number, records[number - 1]) for number in numbers]
    accepted = sum(1 for record in records if is_accepted(record))
    return {"cases": len(records), "accepted": accepted, "explained": entries}


def lines(told: Data, width: int) -> Lines:
    """The same as (text, style), wrapped at `width`. What a reason means is told once, at the first case that has it."""
    found: Lines = []
    said: dict[str, int] = {}
    for entry in told["explained"]:
        found += [*_case_lines(entry, width, said), ("", "")]
    total, accepted = told["cases"], told["accepted"]
    refused = total - accepted
    if not total:
        return [("No record is in it, so there is nothing to explain.", "bold")]
    if not refused:
        return [*found, (f"{_cases(total)}, all accepted: nothing was refused and nothing is undecided.", "bold")]
    return [*found, (f"{refused} of {_cases(total)} not accepted, {accepted} accepted.", "bold")]


def _case(number: int, record: Data) -> Data:
    told = record["status"] == "VALID" and record["outcome"] == "UNDECIDED" and not record["quarantined"]
    return {
        "case": number,
        "title": report.title(record),
        "status": record["status"],
        "outcome": None if record["quarantined"] else record["outcome"],
        "accepted": is_accepted(record),
        "quarantined": record["quarantined"],
        "unprotected": bool(record.get("unprotected")),
        "message": record["message"],
        "speedup": report.speedup_text(record),
        "demand": _demand(record),
        "reasons": [_reason(name, record) for name in record["reasons"]],
        "undecided": _undecided(record) if told else None,
    }


def _demand(record: Data) -> str:
    """What the gate asks of the outcome and did not get, or ""."""
    valid = record["status"] == "VALID" and record["phase"] == "gate"
    return record["require"] if valid and verdict.exit_code([record]) != verdict.PASSED else ""


def _reason(name: str, record: Data) -> Data:
    """One reason: what was seen, and what the documentation says of it."""
    wanted = DECISIVE.get(record["status"])
    findings = [
        {
            "observed": e["observed"],
            "limit": e["limit"],
            "stage": e["stage"],
            "when": stages().get(e["stage"], ""),
            "witness": e["witness"],
            "arm": e.get("arm", ""),
            "count": e.get("count", 1),
        }
        for e in record["evidence"]
        if e["protection"] == name and e["status"] == wanted
    ]
    findings.sort(key=lambda e: e["arm"] != "candidate")  # the candidate's first, as the message has it
    known, general = sections(), GENERAL.get(record["status"], "")
    prose = _prose(known.get(name))
    switched_off = all(f"{name} is switched off" in e["observed"] for e in findings)
    if findings and (general == "error" or (general and switched_off)):
        prose |= {"knobs": "", "blind_spot": "", **known[general].parts, "what": prose["what"]}
    return {"reason": name, "findings": findings or [_fault(name, record)], **prose}


def _fault(name: str, record: Data) -> Data:
    """A reason without evidence: the case ended while it was in the stage that was timed last."""
    last = next((stage for stage in reversed(record["stages_s"]) if stage != "total"), "")
    witness = "worker" if name == "worker.raised" else "judge"
    return {
        "observed": record["message"], "limit": "", "stage": last, "when": "", "witness": witness, "arm": "", "count": 1,
    }  # fmt: skip


def _prose(section: Section | None) -> Data:
    parts = section.parts if section else {}
    return {"read": section.read if section else "", "what": parts.get("what", ""), **{k: parts.get(k, "") for k in LEADS}}


def stages() -> dict[str, str]:
    """When each stage of protection is, in the words of the table in protect/base.py."""
    rows = [row.strip("| ").split("|") for row in (base.__doc__ or "").splitlines() if row.startswith("| ")]
    return {row[0].strip(): row[2].strip() for row in rows if row[0].strip() in (*base.JUDGE_STAGES, *base.WORKER_STAGES)}


def _undecided(record: Data) -> Data:
    """The numbers that leave it open, and how many sets of processes would decide."""
    told: Data = {"prose": _prose(sections().get("UNDECIDED"))}
    s = record["speedup"]
    if s is None:  # the clock could not tell: there is no interval to do arithmetic on
        return told | {"interval": None, "next": "measure longer batches: measure.batch_ms, measure.batch_gpu_ms"}
    keys = ("value", "low", "high", "confidence")
    noisy = s["floor"] > s["margin"] / 2
    need = undecided.needed(s, record["control"])
    return told | {
        "interval": {key: s[key] for key in keys},
        "margin": s["margin"],
        "floor": s["floor"],
        "limit": 2 * s["floor"] if noisy else s["margin"],
        "same_can_be_told": not noisy,
        "control_is_biased": undecided.is_biased(record["control"]),
        "mde": s["mde"],
        "sets": s["processes"],
        "needed_sets": need.sets if need else None,
        "more_sets": need.sets - s["processes"] if need and need.sets else None,
        "would_be": need.outcome if need else "",
        "next": _next(record, need),
    }


def _next(record: Data, need: undecided.Need | None) -> str:
    """The command that measures enough, or what to change where more sets of processes are not it."""
    again = f"aisp-run +workload={shlex.quote(record['workload'])}"
    if record["candidate"]:
        again += f" candidate={shlex.quote(record['candidate'])}"
    if need is None:
        return f"{again} measure=standard"
    if need.sets is None:
        return f"{again} measure=publication, with nothing beside it; aisp doctor says what this machine lacks"
    for preset, sets in PRESETS:
        if need.sets <= sets:
            return f"{again} measure={preset}"
    return f"{again} measure=publication measure.processes={need.sets}"


def _case_lines(entry: Data, width: int, said: dict[str, int]) -> Lines:
    """said: which case has told what a reason means, by that; this one is added."""
    words = [entry["status"], "in quarantine" if entry["quarantined"] else entry["outcome"] or "", entry["speedup"]]
    style = report.STYLES.get(entry["outcome"] or "", "") if entry["status"] == "VALID" else report.STYLES[entry["status"]]
    found: Lines = [(f"{entry['case']}. {entry['title']}: {' '.join(w for w in words if w)}", style)]
    if entry["unprotected"]:
        found.append((report.UNPROTECTED, "bold white on red"))
    if entry["accepted"]:
        return [*found, *_wrapped("Accepted: there is nothing to explain.", width)]
    if entry["demand"]:
        found += _wrapped(f"The gate asks for {entry['demand']} (verify.require), and that is not what was found.", width)
    if entry["quarantined"]:
        found += _wrapped("Its numbers are withheld. Why, and how it gets out: aisp quarantine list", width)
    for place, reason in enumerate(entry["reasons"], 1):
        if place == 2:
            found += [("", ""), *_wrapped("Found as well; often what the first one explains:", width)]
        found += _reason_lines(reason, width, entry["case"], said)
    if entry["undecided"]:
        found += _undecided_lines(entry["undecided"], width)
        found += _prose_lines(entry["undecided"]["prose"], width, entry["case"], said)
    return found


def _reason_lines(reason: Data, width: int, case: int, said: dict[str, int]) -> Lines:
    found: Lines = [("", ""), (f"   {clean(reason['reason'])}  {reason['read']}".rstrip(), "bold")]
    shown = reason["findings"][:SHOWN]
    for e, after in zip(shown, [*shown[1:], None], strict=True):
        found += _row("seen", e["observed"] + (f" ({e['count']} times)" if e["count"] > 1 else ""), width)
        if after is None or (_witness(after), after["limit"]) != (_witness(e), e["limit"]):
            found += _row("limit", e["limit"], width) if e["limit"] else []
            found += _row("by", _witness(e), width)
    if (left := len(reason["findings"]) - SHOWN) > 0:
        found += _row("", f"and {left} more like it: --json", width)
    if not reason["read"]:
        unknown = "This version of aisp-run knows no such reason: see the documentation of the one that wrote the record."
        return [*found, *_wrapped(unknown, width)]
    return found + _prose_lines(reason, width, case, said)


def _witness(e: Data) -> str:
    """Who saw it, of which arm, and when."""
    who = "the judge" if e["witness"] == "judge" else "the worker, about itself (docs/threat-model.md says what that is worth)"
    arm = f", of the {e['arm']}" if e["arm"] else ""
    when = f", at {e['stage']}" + (f" ({e['when']})" if e["when"] else "") if e["stage"] else ""
    return f"{who}{arm}{when}"


def _undecided_lines(told: Data, width: int) -> Lines:
    interval = told["interval"]
    found: Lines = [("", ""), (f"   UNDECIDED  {told['prose']['read']}", "bold")]
    if interval is not None:
        wide, sets = told["limit"], told["sets"]
        span = f"{interval['value']:.4f}x [{interval['low']:.4f}, {interval['high']:.4f}]"
        over = f"{sets} sets of processes" if sets > 1 else "the rounds of one set of processes"
        same = f", SAME within 1 -+ {told['margin']:g}" if told["same_can_be_told"] else ", SAME cannot be told"
        noisy = "" if told["same_can_be_told"] else ": over half the margin, so twice the floor takes its place"
        found += _row("interval", f"{span} at {interval['confidence']:.1%}, over {over}", width)
        found += _row("margin", f"{told['margin']:.2%}", width)
        found += _row("floor", f"{told['floor']:.2%} of noise, from the control{noisy}", width)
        slower = f"SLOWER below {1 - wide:.4f}" if wide < 1 else "SLOWER cannot be told"
        found += _row("limits", f"FASTER above {1 + wide:.4f}, {slower}{same}", width)
        mde = told["mde"]
        found += _row("MDE", f"{mde:.2%}" if mde is not None else "not known: one set of processes cannot tell it", width)
        found += _row("needed", _need_text(told), width)
    return found + _row("next", told["next"], width)


def _need_text(told: Data) -> str:
    if told["sets"] < 2:
        return "not known: one set of processes says nothing of how much processes differ"
    if told["needed_sets"] is None:
        biased = "; the control itself is off 1, which more sets do not mend" if told["control_is_biased"] else ""
        return f"not by {undecided.MOST} sets of processes: the speed-up is too near a limit for this scatter{biased}"
    outcome, sets, more = told["would_be"], told["needed_sets"], told["more_sets"]
    return f"about {sets} sets of processes, {more} more: then {outcome} in {POWER:.0%} of runs, if it is what this run says"


def _prose_lines(prose: Data, width: int, case: int, said: dict[str, int]) -> Lines:
    """What the documentation says, or which case above has it."""
    if (first := said.setdefault(prose["read"] + prose["means"], case)) != case:
        return _wrapped(f"What that means and what to do: at {first}, above.", width)
    return [line for part in ("what", *LEADS) if prose[part] for line in _wrapped(prose[part], width)]


def _row(label: str, text: str, width: int) -> Lines:
    return _wrapped(text, width, f"   {label:<9} ")


def _wrapped(text: str, width: int, first: str = "   ") -> Lines:
    """A paragraph below a case's title, with a hanging indent."""
    wrap = textwrap.TextWrapper(
        max(width, 40), initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    )
    return [(line, "") for line in wrap.wrap(clean(text))]


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


def _name(record: Data) -> str:
    return _tight(report.title(record))


def _tight(text: str) -> str:
    """workload / variant / case without the blanks beside the slashes."""
    return "/".join(part.strip() for part in clean(text).split("/"))
