"""Records: the schema, the file, and what contradicts itself."""

from __future__ import annotations

import builtins
import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aisp_runner import record
from aisp_runner.content import content_root
from aisp_runner.errors import AispError, ConfigError
from aisp_runner.statistics import Calls, Round, estimate

CALLS = (4, 20)


def samples_of(baseline_us: float, candidate_us: float, rounds: int = 6) -> list[dict[str, Any]]:
    """Batches of a baseline and a candidate that take so long a call, plus 45 us a batch, a little slower every round."""
    samples, clock = [], 1000
    for number in range(rounds):
        for calls in (0, *CALLS):
            for arm, us in (("baseline", baseline_us), ("candidate", candidate_us)):
                if calls == 0 and arm == "candidate":
                    continue
                elapsed = round((45 + us * calls * (1 + 0.002 * number)) * 1000)
                done = clock + elapsed
                times = {"issued_ns": clock, "done_ns": done, "drained_ns": done + 500, "reported_ns": elapsed}
                samples.append({"round": number, "arm": arm, "calls": calls, **times})
                clock += elapsed + 1000
    return samples


def valid_record(baseline_us: float = 800.0, candidate_us: float = 400.0, **changes: Any) -> dict[str, Any]:
    """A VALID record whose numbers come from its own samples."""
    samples = samples_of(baseline_us, candidate_us)
    rounds: dict[int, list[float]] = {}
    for arm in ("baseline", "candidate"):
        for s in samples:
            if s["arm"] == arm:
                rounds.setdefault(s["round"], []).append(float(s["done_ns"] - s["issued_ns"]))
    e = estimate([Round(*times) for times in rounds.values()], Calls(CALLS, CALLS))
    assert e.speedup is not None
    low, high = e.speedup.low, e.speedup.high
    outcome = "FASTER" if low > 1.02 else "SLOWER" if high < 0.98 else "SAME"
    made = {
        "format": 1,
        "workload": "ch06_vector_add",
        "question": "Does one launch beat 256 chunked ones?",
        "group": "ch06",
        "variant": "vectorized",
        "baseline": "chunked",
        "case": {"axes": {"n": 262144}, "device": "cpu", "held_out": False},
        "status": "VALID",
        "outcome": outcome,
        "reasons": [],
        "message": "",
        "speedup": {"value": e.speedup.value, "low": low, "high": high, "confidence": e.speedup.confidence, "margin": 0.02},
        "clock": {
            "mode": "wall",
            "claim": "kernel",
            "calls": {"baseline": list(CALLS), "candidate": list(CALLS)},
            "baseline_us": e.baseline_ns / 1000,
            "candidate_us": e.candidate_ns / 1000,
            "naive_speedup": e.naive,
            "handshake_us": e.handshake_ns / 1000,
        },
        "roofline": {"bytes_per_s": 8.1e9, "flops_per_s": 1.0e9},
        "samples": samples,
        "evidence": [
            {
                "protection": "memory.late_writes",
                "stage": "after_batch",
                "witness": "judge",
                "status": "pass",
                "observed": "0 slots",
                "limit": "0 slots",
                "count": 24,
            }
        ],
        "errors": {"c": {"max_abs": 1.0e-7, "max_rel": 1.0e-7, "outputs_checked": 40, "outputs_total": 96}},
        "phase": "gate",
        "require": "valid",
        "quarantined": False,
        "candidate": None,
        "plan_sha256": "ab" * 32,
        "sources": {"kernels/vector_add.py": "cd" * 32},
        "machine": {"cpu": "a CPU", "missing": {}},
        "stages_s": {"start": 0.9, "calibrate": 0.2, "measure": 1.4, "total": 2.9},
        "started": "2025-01-02T03:04:05+00:00",
    }
    return {**made, **changes}


def refused_record(status: str = "INVALID", reason: str = "memory.late_writes", **changes: Any) -> dict[str, Any]:
    """A record whose status is not VALID, for one reason."""
    made = valid_record()
    seen = {**made["evidence"][0], "protection": reason, "status": "fail", "observed": "8 of 8 slots were written after DONE"}
    message = "8 of 8 output slots were written after DONE (limit: 0 slots)"
    changed = {"status": status, "outcome": None, "speedup": None, "reasons": [reason], "message": message, "evidence": [seen]}
    return {**made, **changed, **changes}


def test_a_record_that_follows_the_schema_is_accepted() -> None:
    for r in (valid_record(), refused_record(), refused_record("ERROR", reasons=[], clock=None, samples=[], errors={})):
        record.validate(r)


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a key that is missing": (lambda r: r.pop("samples"), "samples: missing"),
    "a key that is misspelt": (lambda r: r.update(reason=[]), "reason: unknown key. Did you mean 'reasons'?"),
    "a speed-up that is NaN": (lambda r: r["speedup"].update(value=math.nan), "speedup.value: 'NaN' is not of type 'number'"),
    "a status that does not exist": (lambda r: r.update(status="FINE"), "status: 'FINE' is not one of"),
    "a speed-up beside a refusal": (lambda r: r.update(status="INVALID", outcome=None), "speedup: "),
    "an outcome beside a refusal": (lambda r: r.update(status="ERROR", speedup=None), "outcome: "),
    "a VALID one without a speed-up": (lambda r: r.update(speedup=None), "speedup: None is not of type 'object'"),
    "evidence of an unknown kind": (lambda r: r["evidence"][0].update(status="maybe"), "evidence[0].status: 'maybe'"),
    "a batch of less than no calls": (
        lambda r: r["samples"][3].update(calls=-1),
        "samples[3].calls: -1 is less than the minimum",
    ),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_the_schema_refuses(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    r = valid_record()
    change(r)
    with pytest.raises(AispError) as caught:
        record.validate(r)
    assert said in str(caught.value)
    assert "record of ch06_vector_add / vectorized" in str(caught.value)


def test_without_jsonschema_missing_and_unknown_keys_are_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name == "jsonschema":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    record.validate(valid_record())
    broken = valid_record(extra=1)
    del broken["clock"]
    with pytest.raises(AispError, match="clock: missing; extra: unknown key"):
        record.validate(broken)


@pytest.mark.parametrize("name", ["record", "evidence", "quarantine"])
def test_every_property_of_a_schema_is_described_and_the_schema_is_draft_07(name: str) -> None:
    schema = json.loads((content_root() / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)

    def undescribed(node: Any, place: str) -> list[str]:
        found = []
        if isinstance(node, dict):
            for key, child in node.get("properties", {}).items():
                if "description" not in child:
                    found.append(f"{place}.{key}")
            for key, child in node.items():
                if key not in ("if", "then", "else"):
                    found += undescribed(child, f"{place}.{key}")
        return found

    assert undescribed(schema, name) == []


def test_what_is_appended_is_read_back_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "run" / "records.jsonl"
    for r in (valid_record(), refused_record(message="first\nsecond")):
        record.append(path, r)
    assert len(path.read_bytes().splitlines()) == 2
    assert [r["status"] for r in record.read(path)] == ["VALID", "INVALID"]
    assert record.read(path)[1]["message"] == "first\nsecond"


def test_an_error_that_is_not_a_number_survives_the_file(tmp_path: Path) -> None:
    r = refused_record()
    r["errors"]["c"] = {"max_abs": math.nan, "max_rel": math.inf, "outputs_checked": 1, "outputs_total": 1}
    record.append(tmp_path / "records.jsonl", r)
    read = record.read(tmp_path / "records.jsonl")[0]
    assert read["errors"]["c"]["max_abs"] == "NaN"
    assert read["errors"]["c"]["max_rel"] == "Infinity"


def test_text_that_is_not_unicode_does_not_lose_the_record(tmp_path: Path) -> None:
    record.append(tmp_path / "records.jsonl", refused_record(message="printed \udcff"))
    assert record.read(tmp_path / "records.jsonl")[0]["message"].startswith("printed ")


def test_a_line_that_was_cut_off_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    record.append(path, valid_record())
    path.write_bytes(path.read_bytes() + b'{"format": 1, "work')
    with pytest.raises(ConfigError, match=r"records\.jsonl:2: not a JSON line .* Delete that line to read the rest"):
        record.read(path)


def test_a_line_that_was_edited_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(valid_record(status="GREAT")) + "\n")
    with pytest.raises(ConfigError, match=r"records\.jsonl:1: status: 'GREAT' is not one of"):
        record.read(path)


def test_a_folder_without_records_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        record.read(tmp_path / "records.jsonl")


def test_an_honest_record_contradicts_nothing() -> None:
    assert record.recompute(valid_record()) == []
    assert record.recompute(valid_record(candidate_us=801.0)) == []
    assert record.recompute(valid_record(candidate_us=1600.0)) == []
    assert record.recompute(refused_record()) == []
    untold = valid_record(outcome="UNDECIDED", speedup=None)
    record.validate(untold)
    assert record.recompute(untold) == []
    assert record.recompute(refused_record("ERROR", reasons=[], clock=None, samples=[], errors={})) == []


def test_warming_up_is_not_part_of_the_speed_up() -> None:
    r = valid_record()
    warm = {"round": -1, "arm": "baseline", "calls": 7, "issued_ns": 0, "done_ns": 900_000, "drained_ns": None}
    r["samples"].insert(0, warm)
    record.validate(r)
    assert record.recompute(r) == []


DOCTORED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a speed-up that was raised": (lambda r: r["speedup"].update(value=r["speedup"]["high"] * 2), "outside its own interval"),
    "an interval that was moved along": (
        lambda r: r["speedup"].update(value=4.0, low=3.9, high=4.1),
        "speedup.value is 4, and the samples give 2",
    ),
    "a time a call that was lowered": (lambda r: r["clock"].update(candidate_us=100.0), "clock.candidate_us is 100, and"),
    "an outcome that does not follow": (lambda r: r.update(outcome="SLOWER"), "the outcome is SLOWER with an interval of [2"),
    "a refusal turned VALID": (lambda r: r["evidence"][0].update(status="fail"), "these fail: memory.late_writes"),
    "a reason left standing": (lambda r: r.update(reasons=["memory.late_writes"]), "although there are reasons against it"),
    "a slow batch taken out": (lambda r: r["samples"].pop(), "1 of 6 rounds are incomplete"),
    "all samples taken out": (lambda r: r["samples"].clear(), "the status is VALID without a sample"),
    "a batch of another length": (lambda r: r["samples"][0].update(calls=5), "samples[0]: a batch of 5 calls"),
    "a batch done before it began": (lambda r: r["samples"][0].update(done_ns=0), "samples[0]: done before it was issued"),
    "more outputs checked than written": (
        lambda r: r["errors"]["c"].update(outputs_checked=97),
        "errors.c: 97 outputs were checked of 96",
    ),
    "a speed-up for a refusal": (lambda r: r.update(status="INVALID", reasons=["x.y"]), "speedup is present although"),
}


@pytest.mark.parametrize(("change", "said"), DOCTORED.values(), ids=DOCTORED)
def test_a_record_contradicts_itself_with(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    r = copy.deepcopy(valid_record())
    change(r)
    assert any(said in text for text in record.recompute(r)), record.recompute(r)


def test_a_reason_needs_evidence_that_failed() -> None:
    r = refused_record(reasons=["output.wrong"])
    assert record.recompute(r) == ["output.wrong is a reason, and no evidence of it failed"]
    assert record.recompute(refused_record(reasons=[])) == ["the status is INVALID without a reason"]
