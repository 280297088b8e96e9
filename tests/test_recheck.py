"""What a doctored record is told by: its own samples and evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doctored import a_run, contradictions, doctor, rebuild
from records import stamped_record

from aisp_runner import chain, recheck, record
from aisp_runner.protect import registry
from aisp_runner.recheck import ESSENTIAL
from aisp_runner.verify_record import verify


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(chain.KEY_FILE, raising=False)
    return tmp_path


def rounds_of(r: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for s in r["samples"] if s["purpose"] == "round"]


def take_out_a_round(r: dict[str, Any]) -> None:
    r["samples"] = [s for s in r["samples"] if (s["purpose"], s["process"], s["round"]) != ("round", 1, 0)]


def take_out_the_last_round_everywhere(r: dict[str, Any]) -> None:
    last = max(s["round"] for s in rounds_of(r))
    r["samples"] = [s for s in r["samples"] if s["purpose"] != "round" or s["round"] != last]
    r["clock"]["rounds"] = len({(s["process"], s["round"]) for s in rounds_of(r)})


def take_out_the_controls_of_a_round(r: dict[str, Any]) -> None:
    gone = ("round", "control", 0, 0)
    r["samples"] = [s for s in r["samples"] if (s["purpose"], s["arm"], s["process"], s["round"]) != gone]


def take_out_every_control(r: dict[str, Any]) -> None:
    r["samples"] = [s for s in r["samples"] if s["arm"] != "control"]


def quicken_the_candidate(r: dict[str, Any]) -> None:
    for s in r["samples"]:
        if s["arm"] == "candidate":
            s["done_ns"] -= (s["done_ns"] - s["issued_ns"]) // 2


def pick_the_fastest_pair(r: dict[str, Any]) -> None:
    """The ratio of the luckiest neighbours, claimed with an interval around it."""
    again = record.estimated(r)
    assert again is not None
    best = math.exp(max(ratio for own in again.by_process for ratio in own))
    r["speedup"] |= {"value": best, "low": best * 0.99, "high": best * 1.01}


def turn_a_refusal(r: dict[str, Any]) -> None:
    """The evidence of a refusal, under a verdict that was left standing."""
    next(e for e in r["evidence"] if e["protection"] == "memory.late_writes")["status"] = "fail"


def lose_evidence(name: str) -> Callable[[dict[str, Any]], None]:
    def change(r: dict[str, Any]) -> None:
        r["evidence"] = [e for e in r["evidence"] if e["protection"] != name]

    return change


INSIDE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a dropped sample": (
        lambda r: r["samples"].remove(rounds_of(r)[3]),
        r"samples counted by statistical\.whole_sample: expected \d+, found \d+ in the record",
    ),
    "a dropped sample, of the outputs": (
        lambda r: r["samples"].remove(next(s for s in rounds_of(r) if s["arm"] == "candidate")),
        r"outputs that the candidate wrote, errors\.\w+\.outputs_total: expected \d+ by the samples, found \d+",
    ),
    "a dropped warm-up": (
        lambda r: r["samples"].pop(0),
        r"batches of the baseline that memory\.late_writes looked at: expected",
    ),
    "a dropped round": (take_out_a_round, "round 0 of set 1: expected in the samples, found missing"),
    "the last round left out everywhere": (
        take_out_the_last_round_everywhere,
        r"rounds counted by statistical\.whole_sample: expected",
    ),
    "a control left out": (take_out_every_control, "samples counted by statistical.whole_sample: expected"),
    "the controls of one round left out": (
        take_out_the_controls_of_a_round,
        r"1 of \d+ rounds are incomplete: a round is an empty batch",
    ),
    "a short batch left out": (
        lambda r: r["samples"].remove(next(s for s in rounds_of(r) if s["calls"] == r["clock"]["calls"]["candidate"][0])),
        r"samples counted by statistical\.whole_sample: expected",
    ),
    "a round called dropped": (
        lambda r: [s.update(purpose="dropped") for s in rounds_of(r) if s["round"] == 0],
        "dropped counted by statistical.whole_sample: expected 0, found",
    ),
    "a round that was made up": (lambda r: rounds_of(r)[-1].update(round=10**9), "numbers of rounds and sets: expected below"),
    "a changed time": (
        lambda r: [s.update(done_ns=s["done_ns"] + 10**9) for s in rounds_of(r)[9:10]],
        r"samples\[\d+\]\.issued_ns: expected \d+ or later, when the batch before was done, found",
    ),
    "a candidate made quick": (quicken_the_candidate, r"speedup\.value: expected [\d.]+, found"),
    "content after the gate": (
        lambda r: r["samples"][5].update(revealed_ns=r["samples"][5]["issued_ns"] + 1),
        r"samples\[5\]\.revealed_ns: expected at most",
    ),
    "an edited speed-up": (
        lambda r: r["speedup"].update(value=9.0, low=8.9, high=9.1),
        r"speedup\.value: expected [\d.]+, found 9",
    ),
    "a percentile in the centre's place": (
        pick_the_fastest_pair,
        r"speedup\.value, which is the largest ratio of any one pair of batches and not their centre: expected [\d.]+, found",
    ),
    "a narrower interval": (
        lambda r: r["speedup"].update(low=r["speedup"]["value"] * 0.9999),
        r"speedup\.low: expected [\d.]+, found [\d.]+",
    ),
    "more confidence": (lambda r: r["speedup"].update(confidence=0.99), r"speedup\.confidence: expected 0\.95, found 0\.99"),
    "another noise floor": (lambda r: r["speedup"].update(floor=1e-4), r"speedup\.floor: expected [\d.]+, found 0\.0001"),
    "another MDE": (lambda r: r["speedup"].update(mde=1e-4), r"speedup\.mde: expected [\d.]+, found 0\.0001"),
    "another control": (lambda r: r["control"].update(value=1.0), r"control\.value: expected [\d.]+, found 1"),
    "another handshake": (lambda r: r["clock"].update(handshake_us=0.5), r"clock\.handshake_us: expected [\d.]+, found 0\.5"),
    "another naive speed-up": (
        lambda r: r["clock"].update(naive_speedup=0.5),
        r"clock\.naive_speedup: expected [\d.]+, found 0\.5",
    ),
    "more rounds claimed": (
        lambda r: r["clock"].update(rounds=1000),
        r"clock\.rounds: expected \d+ by the samples, found 1000",
    ),
    "dropped rounds claimed": (lambda r: r["clock"].update(dropped=3), r"clock\.dropped: expected 0 by the samples, found 3"),
    "an edited status of evidence": (
        turn_a_refusal,
        r"status, by the evidence and samples: expected INVALID \(memory\.late_writes\), found VALID",
    ),
    "evidence that was taken out": (
        lose_evidence("output.tolerance_bound"),
        r"evidence of output\.tolerance_bound, which is essential: expected some, found none",
    ),
    "a slowed verdict": (
        lambda r: r.update(status="INCONCLUSIVE", reasons=["timing.resolution"], speedup=None, outcome=None, control=None),
        r"status, by the evidence and samples: expected VALID, found INCONCLUSIVE \(timing\.resolution\)",
    ),
    "an outcome that does not follow": (
        lambda r: r.update(outcome="SAME" if r["outcome"] != "SAME" else "FASTER"),
        "the outcome is [A-Z]+ with an interval of",
    ),
    "a key that the schema does not know": (lambda r: r.update(extra=1), "schema, extra: unknown key"),
    "calls that no speed-up comes from": (
        lambda r: r["clock"]["calls"].update(candidate=[7, 7], baseline=[7, 7]),
        r"samples\[\d+\]: a batch of \d+ calls",
    ),
}  # fmt: skip


@pytest.mark.parametrize("afterwards", ["chain as it was", "chain rebuilt"])
@pytest.mark.parametrize(("change", "said"), INSIDE.values(), ids=INSIDE)
def test_a_record_that_was_doctored_is_told_by_what_it_holds(
    change: Callable[[dict[str, Any]], Any], said: str, afterwards: str
) -> None:
    folder = a_run()
    doctor(folder, lambda records: change(records[1]) and None)
    if afterwards == "chain rebuilt":
        rebuild(folder)
    verified = verify(folder)
    told = contradictions(verified)
    assert any(re.search(f"^contradiction: run/records.jsonl:2: ch12_.*: {said}", line) for line in told), told
    assert all("records.jsonl:2: " in line for line in told)
    assert any("content changed after it was written" in line for line in told) == (afterwards == "chain as it was")
    assert verified.exit_code == 3


def test_what_no_number_depends_on_is_told_by_the_chain_alone() -> None:
    """The blind spot that docs/verify-record.md names: once the chain is rebuilt, nothing tells."""
    folder = a_run()
    doctor(folder, lambda records: records[0]["samples"][0].update(reported_ns=1))
    (told,) = contradictions(verify(folder))
    assert "content changed after it was written" in told
    rebuild(folder)
    assert contradictions(verify(folder)) == []


def test_the_essential_protections_are_essential() -> None:
    assert set(ESSENTIAL) <= {name for name, kind in registry.known().items() if kind.essential}


def test_a_round_of_time_stamps_that_was_left_out_is_missed_where_they_decided() -> None:
    r = stamped_record()
    assert not [found for found in recheck.contradictions(r) if "stamped round" in found.what]
    r["samples"] = [s for s in r["samples"] if (s["purpose"], s["process"], s["round"]) != ("device", 0, 1)]
    told = [found for found in recheck.contradictions(r) if "stamped round" in found.what]
    assert told == [recheck.Difference("stamped round 1 of set 0", "in the samples", "missing")]
