"""Whether one record concludes what its own samples and evidence do: each number, the status and the counts, found again.

Blind spot: a record whose samples and evidence were invented to match.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aisp_runner import record, verdict
from aisp_runner.protect.base import Evidence
from aisp_runner.statistics import Estimate

_COUNTED = re.compile(
    r"(?P<samples>\d+) samples of (?P<issued>\d+) batches issued, (?P<missing>\d+) missing, (?P<extra>\d+) unexplained, "
    r"(?P<dropped>\d+) dropped, (?P<rounds>\d+) rounds in (?P<sets>\d+) sets of processes"
)
_FAULTS = ("AispError", "BuildError", "ConfigError", "DeviceError", "HostError", "LaneError", "ProtocolError")
"""Reasons that name an exception; those of workers begin with "worker.", those of tasks with "engine."."""


ESSENTIAL = (
    "evaluation.frozen_plan",
    "evaluation.sealed_judge",
    "output.poisoned_outputs",
    "output.tolerance_bound",
    "output.vacuous_tolerance",
    "statistical.whole_sample",
    "timing.wall_clock_bound",
)
"""Protections that were essential in every version that wrote records of this format. One that became so later may be missing
in an honest record, so it is not asked for.
"""


class Difference(NamedTuple):
    """One thing that a record says otherwise than what it is held against."""

    what: str
    expected: str = ""
    found: str = ""


def contradictions(r: dict[str, Any]) -> list[Difference]:
    """What a record, which the schema accepts, concludes otherwise than its own samples and evidence do."""
    found, again = [], None
    try:
        again = record.estimated(r)
        numbers = record.misstated(r, again) if again and r["speedup"] else []
        sentences = {record.said(*number) for number in numbers}
        found = [Difference(what) for what in record.recompute(r) if what not in sentences]
        found += [_misstated(*number, again) for number in numbers if again]
    except (ArithmeticError, LookupError, ValueError) as odd:
        found.append(Difference("samples", "rounds that a speed-up can be computed from", f"{type(odd).__name__}: {odd}"))
    return [*found, *_status(r, again), *_essentials(r), *_times(r), *_counts(r), *_numbering(r), *_looks(r)]


def _misstated(name: str, claim: Any, value: float | None, again: Estimate) -> Difference:
    """A number of the speed-up that is not what the samples give, and whether it is that of one lucky pair."""
    if name == "speedup.value" and isinstance(claim, int | float):
        ratios = [math.exp(ratio) for own in again.by_process for ratio in own]
        for which, one in (("largest", max(ratios)), ("smallest", min(ratios))):
            if math.isclose(claim, one, rel_tol=1e-6):
                name = f"{name}, which is the {which} ratio of any one pair of batches and not their centre"
    return Difference(name, _number(value), _number(claim))


def _status(r: dict[str, Any], again: Estimate | None) -> list[Difference]:
    """Status and reasons, decided again from the evidence. A fault leaves no evidence, so that one is believed."""
    found = []
    evidence = [Evidence(**e) for e in r["evidence"]]
    decided = verdict.decide(evidence, None, r["phase"], again, r["require"])
    fault = r["status"] == "ERROR" and any(name.startswith(("worker.", "engine.")) or name in _FAULTS for name in r["reasons"])
    untold = r.get("unprotected") and decided.reasons == ("timing.resolution",)  # its times were not computed again
    if decided.status == "INVALID" or not (fault or untold):
        right, claimed = _verdict(decided.status, decided.reasons), _verdict(r["status"], r["reasons"])
        if claimed != right:
            found.append(Difference("status, by the evidence and samples", right, claimed))
    return found


def _essentials(r: dict[str, Any]) -> list[Difference]:
    """Essential protections that left no evidence; of a VALID record."""
    if r["status"] != "VALID" or r.get("unprotected"):
        return []
    seen = {e["protection"] for e in r["evidence"] if e["status"] != "unavailable"}
    return [Difference(f"evidence of {name}, which is essential", "some", "none") for name in ESSENTIAL if name not in seen]


def _times(r: dict[str, Any]) -> list[Difference]:
    """Batches run one after the other, and each is revealed, let go and done in that order."""
    found: list[Difference] = []
    before = None
    for i, s in enumerate(r["samples"]):
        revealed = s.get("revealed_ns", s["issued_ns"])
        if revealed > s["issued_ns"]:
            found.append(Difference(f"samples[{i}].revealed_ns", f"at most {s['issued_ns']}", str(revealed)))
        if before is not None and s["issued_ns"] < before:
            wanted = f"{before} or later, when the batch before was done"
            found.append(Difference(f"samples[{i}].issued_ns", wanted, str(s["issued_ns"])))
        before = s["done_ns"]
    return found


def _counts(r: dict[str, Any]) -> list[Difference]:
    """The number of samples and rounds, against what statistical.whole_sample and the clock counted."""
    kept, left = ([s for s in r["samples"] if s["purpose"] == purpose] for purpose in ("round", "dropped"))
    rounds, sets = _rounds(kept)
    here = {"samples": len(kept), "dropped": len(left), "rounds": len(rounds), "sets": len(sets)}
    found = []
    for counted in counts(r):
        here["issued"] = len(kept) + len(left) + counted["missing"] - counted["extra"]
        found += [
            Difference(f"{name} counted by statistical.whole_sample", str(counted[name]), f"{n} in the record")
            for name, n in here.items()
            if n != counted[name]
        ]
    if r["status"] != "VALID":
        return found
    modes = {s.get("mode") for s in kept}  # what was dropped before falling back to wall is not in clock.dropped
    repeated = sum(s["arm"] == "baseline" and s["calls"] == 0 and s.get("mode") in modes for s in left)
    wanted = {"rounds": here["rounds"], "processes": here["sets"], "dropped": repeated}
    told = {name: r["clock"].get(name, n) for name, n in wanted.items()}
    return found + [
        Difference(f"clock.{name}", f"{n} by the samples", str(told[name])) for name, n in wanted.items() if told[name] != n
    ]


def counts(r: dict[str, Any]) -> list[dict[str, int]]:
    """What statistical.whole_sample counted: samples, issued, missing, extra, dropped, rounds, sets."""
    told = (_COUNTED.match(e["observed"]) for e in r["evidence"] if e["protection"] == "statistical.whole_sample")
    return [{name: int(n) for name, n in said.groupdict().items()} for said in told if said]


def _rounds(kept: Iterable[dict[str, Any]]) -> tuple[set[tuple[int, int]], set[int]]:
    """The rounds as (process, number), and the sets of processes, that samples of purpose round are of."""
    rounds = {(s["process"], s["round"]) for s in kept}
    return rounds, {process for process, _ in rounds}


def _numbering(r: dict[str, Any]) -> list[Difference]:
    """Rounds that are missing, by the judge's clock or by time stamps where those decided; of a VALID record."""
    if r["status"] != "VALID":
        return []
    return [*_missing(r, "round", "round"), *(_missing(r, "device", "stamped round") if record.by_device(r) else [])]


def _missing(r: dict[str, Any], purpose: str, name: str) -> list[Difference]:
    """Every set of processes has 0, 1, 2, ... up to the same one."""
    rounds, sets = _rounds(s for s in r["samples"] if s["purpose"] == purpose)
    if not rounds:
        return []
    numbers = {number for _, number in rounds}
    if max(*sets, *numbers) >= len(r["samples"]):  # a number that was made up: the list of what is missing would be endless
        return [Difference("numbers of rounds and sets", f"below {len(r['samples'])}", str(max(*sets, *numbers)))]
    everything = {(process, number) for process in range(max(sets) + 1) for number in range(max(numbers) + 1)}
    return [
        Difference(f"{name} {number} of set {process}", "in the samples", "missing")
        for process, number in sorted(everything - rounds)
    ]


def _looks(r: dict[str, Any]) -> list[Difference]:
    """How often outputs were written and looked at, against the batches in the samples; of a VALID record."""
    if r["status"] != "VALID":
        return []
    calls = sum(s["calls"] for s in r["samples"] if s["arm"] == "candidate")
    what = "outputs that the candidate wrote, errors.{}.outputs_total"
    found = [
        Difference(what.format(name), f"{calls} by the samples", str(e["outputs_total"]))
        for name, e in r["errors"].items()
        if e.get("outputs_total", calls) != calls
    ]
    batches = Counter(s["arm"] for s in r["samples"] if s["calls"])
    looked: Counter[str] = Counter()
    for e in r["evidence"]:
        if (e["protection"], e["stage"]) == ("memory.late_writes", "after_batch"):
            looked[e.get("arm", "")] += e.get("count", 1)
    return found + [
        Difference(f"batches of the {arm} that memory.late_writes looked at", str(n), f"{batches[arm]} in the samples")
        for arm, n in looked.items()
        if arm and batches[arm] != n
    ]


def _verdict(status: str, reasons: Sequence[str]) -> str:
    return f"{status} ({', '.join(sorted(reasons))})" if reasons else status


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "none" if value is None else str(value)
