"""Rows: what each judge said of each attack and its twin; as JSON (schemas/judges.schema.json) and as Markdown.

Caught: the candidate was refused, or it was accepted and no gain was told: less than the speed-up from which on an attack
counts as alive, or none. Where an attack makes no gain and what counts is that it passes, only a refusal is a catch.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from aisp_runner.audit.attack import Attack
from aisp_runner.audit.plain import GAIN
from aisp_runner.dev.judges.process import Verdict

FORMAT = 1

MEASURED, NOT_APPLICABLE, NOT_MEASURED = "measured", "not applicable", "not measured"
"""Status of a row: both verdicts are there; the format has no place for the attack; it was not run, or the control failed."""

Row = dict[str, Any]


def caught(verdict: Verdict, gains: bool) -> bool:
    """Whether a candidate was refused, or told no gain."""
    return not verdict.accepted or (gains and (verdict.speedup or 0.0) < GAIN)


def measured(attack: Attack, judge: str, candidate: Verdict, twin: Verdict) -> Row:
    """The row of an attack that a judge has judged."""
    return _row(attack, judge, MEASURED, "") | {
        "candidate": dataclasses.asdict(candidate),
        "twin": dataclasses.asdict(twin),
        "caught": caught(candidate, attack.gains),
        "twin_accepted": twin.accepted,
    }


def missing(attack: Attack, judge: str, status: str, why: str) -> Row:
    """The row of an attack that a judge has not judged."""
    return _row(attack, judge, status, why) | {"candidate": None, "twin": None, "caught": None, "twin_accepted": None}


def _row(attack: Attack, judge: str, status: str, why: str) -> Row:
    gains = attack.gains
    return {"attack": attack.name, "issue": attack.issue, "gains": gains, "judge": judge, "status": status, "why": why}


def same(one: Row, other: Row) -> bool:
    """Whether two rows tell of the same attack and judge."""
    return (one["attack"], one["judge"]) == (other["attack"], other["judge"])


def cell(row: Row) -> str:
    """What one judge did with one attack, as a cell of the table."""
    if row["status"] != MEASURED:
        return row["status"]
    said, speedup = row["candidate"], _times(row["candidate"]["speedup"])
    if not said["accepted"]:
        text = "refused"
    elif row["caught"]:
        text = f"accepted, no gain ({speedup})"
    else:
        text = f"**MISSED** ({speedup})" if row["gains"] else "**MISSED**"
    return f"{text}; {said['seconds']:.1f} s" + ("" if row["twin_accepted"] else "; **twin refused**")


def _times(speedup: float | None) -> str:
    return "none told" if speedup is None else f"{speedup:.2f}x"


def markdown(rows: Sequence[Row]) -> str:
    """A table of the attacks by judge, with a line of sums; and below it each judge's own words."""
    judges = list(dict.fromkeys(r["judge"] for r in rows))
    held = {(r["attack"], r["judge"]): r for r in rows}
    lines = [f"| attack | {' | '.join(judges)} |", "|---" * (len(judges) + 1) + "|"]
    for attack in dict.fromkeys(r["attack"] for r in rows):
        cells = [cell(held[attack, judge]) if (attack, judge) in held else NOT_MEASURED for judge in judges]
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    lines.append(f"| **caught; twins accepted; median s a verdict** | {' | '.join(_sums(rows, judge) for judge in judges)} |")
    lines += ["", "| attack | judge | of the candidate | of the twin |", "|---|---|---|---|"]
    for r in rows:
        words = [_words(r["candidate"]), _words(r["twin"])] if r["status"] == MEASURED else [f"{r['status']}: {r['why']}", ""]
        lines.append(f"| {r['attack']} | {r['judge']} | {words[0]} | {words[1]} |")
    return "\n".join(lines)


def _sums(rows: Sequence[Row], judge: str) -> str:
    own = [r for r in rows if r["judge"] == judge and r["status"] == MEASURED]
    if not own:
        return NOT_MEASURED
    seconds = statistics.median(r[arm]["seconds"] for r in own for arm in ("candidate", "twin"))
    refused, twins = (sum(r[key] for r in own) for key in ("caught", "twin_accepted"))
    return f"{refused} of {len(own)}; {twins} of {len(own)}; {seconds:.1f} s"


def _words(said: dict[str, Any]) -> str:
    text = said["message"].replace("|", "\\|")
    return f"{'accepted' if said['accepted'] else 'refused'}, {_times(said['speedup'])}, {said['seconds']:.1f} s: {text}"
