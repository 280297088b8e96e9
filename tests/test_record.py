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
from records import refused_record, sample, stamped_record, valid_record

from aisp_runner import record
from aisp_runner.content import content_root
from aisp_runner.errors import AispError, ConfigError


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
    "a sample without its purpose": (lambda r: r["samples"][3].pop("purpose"), "samples[3]: 'purpose' is a required property"),
    "a sample of an unknown mode": (lambda r: r["samples"][3].update(mode="fast"), "samples[3].mode: 'fast' is not one of"),
    "a record of another format": (lambda r: r.update(format=1), "format: 2 was expected"),
    "a speed-up without its noise floor": (lambda r: r["speedup"].pop("floor"), "speedup: 'floor' is a required property"),
    "an unknown clock": (lambda r: r["clock"].update(mode="event"), "clock.mode: 'event' is not one of"),
    "a control of another form": (lambda r: r.update(control={"value": 1.0}), "control: 'low' is a required property"),
    "a device clock that nobody knows": (lambda r: r.update(device_clock={"kind": "sundial"}), "device_clock.kind: 'sundial'"),
    "a chain without its digest": (lambda r: r.update(chain={"index": 0, "previous": ""}), "chain: 'sha256' is a required"),
    "a signature without its key's id": (
        lambda r: r.update(chain={"index": 0, "previous": "", "sha256": "ab" * 32, "signature": "cd" * 32}),
        "chain: 'key_id' is a dependency of 'signature'",
    ),
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


@pytest.mark.parametrize("name", ["record", "evidence", "quarantine", "progress"])
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
    assert {key: value for key, value in record.read(path)[0].items() if key != "chain"} == valid_record()


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


def stamped(r: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for s in r["samples"] if s["purpose"] == "device"]


def test_a_speed_up_by_time_stamps_comes_from_the_samples_that_have_them() -> None:
    r = stamped_record()
    record.validate(r)
    assert record.recompute(r) == []
    again = record.estimated(r)
    assert again is not None and again.speedup is not None and again.speedup.value == pytest.approx(2)
    assert again.arms_ns["baseline"] == pytest.approx(54_000, rel=0.01), "and not the 800 us of the judge's clock"


STAMPED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "taken for the judge's clock": (
        lambda r: r["clock"].update(source="sealed"),
        "baseline_us is 54.054, and the samples give",
    ),
    "written as by an older version": (lambda r: r["clock"].pop("source"), "baseline_us is 54.054, and the samples give"),
    "stamps that were made shorter": (
        lambda r: [s["device"].update(quarter_ns=1e4) for s in stamped(r) if s["arm"] == "candidate"],
        "speedup.value is 2, and the samples give 5.4",
    ),
    "no stamps": (
        lambda r: r.update(samples=[s for s in r["samples"] if s["purpose"] != "device"]),
        "there is no round that the speed-up could come from",
    ),
    "a batch left out": (
        lambda r: r["samples"].remove(stamped(r)[3]),
        "1 of 6 rounds of time stamps are incomplete: such a round is two batches of each arm",
    ),
    "an outside candidate": (
        lambda r: r.update(candidate="theirs.py::fast"),
        "clock.source is device, and time stamps decide nothing about an outside candidate",
    ),
    "wall time": (
        lambda r: r["clock"].update(claim="wall", mode="wall"),
        "clock.source is device, and time stamps decide no claim of wall in mode wall",
    ),
}


@pytest.mark.parametrize(("change", "said"), STAMPED.values(), ids=STAMPED)
def test_a_record_by_time_stamps_contradicts_itself_with(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    r = stamped_record()
    change(r)
    assert any(said in contradiction for contradiction in record.recompute(r)), record.recompute(r)


def test_warming_up_is_not_part_of_the_speed_up() -> None:
    r = valid_record()
    r["samples"].insert(0, sample("warm_up", 0, -1, "baseline", 7, 0, 900_000))
    record.validate(r)
    assert record.recompute(r) == []


@pytest.mark.parametrize("purpose", ["dropped", "serial", "device", "gap"])
def test_batches_of_another_purpose_are_not_part_of_the_speed_up(purpose: str) -> None:
    r = valid_record()
    last = max(s["done_ns"] for s in r["samples"])
    r["samples"] += [sample(purpose, 0, 0, arm, 1, last + 1000, 5_000_000) for arm in ("baseline", "candidate", "control")]
    record.validate(r)
    assert record.recompute(r) == []


def test_a_round_that_was_dropped_whole_leaves_the_others_to_bear_the_speed_up_out() -> None:
    r = valid_record()
    for s in r["samples"]:
        if (s["process"], s["round"]) == (1, 2):
            s["purpose"] = "dropped"
            s["done_ns"] += 10**9
    assert record.recompute(r) == []


def test_sets_of_processes_differ_in_the_interval_and_not_in_the_number_of_their_rounds() -> None:
    """The second set's candidate is slower by 4 %: the interval is Student's over two of them, and wide."""
    r = valid_record()
    for s in r["samples"]:
        if s["process"] == 1 and s["arm"] == "candidate":
            s["done_ns"] += round(0.04 * (s["done_ns"] - s["issued_ns"]))
    (said,) = [text for text in record.recompute(r) if text.startswith("speedup.low")]
    assert float(said.rsplit(" ", 1)[1]) < 1.7


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
    "both batches of a control taken out": (
        lambda r: [r["samples"].remove(s) for s in [s for s in r["samples"] if s["arm"] == "control"][:2]],
        "1 of 6 rounds are incomplete",
    ),
    "a naive speed-up that was raised": (lambda r: r["clock"].update(naive_speedup=9.0), "clock.naive_speedup is 9, and"),
    "a handshake that was raised": (lambda r: r["clock"].update(handshake_us=90.0), "clock.handshake_us is 90, and"),
    "a time of the control that was lowered": (lambda r: r["clock"].update(control_us=1.0), "clock.control_us is 1, and"),
    "more confidence than there is": (lambda r: r["speedup"].update(confidence=0.99), "speedup.confidence is 0.99, and"),
    "a batch of the control taken out": (
        lambda r: r["samples"].remove(next(s for s in r["samples"] if s["arm"] == "control")),
        "1 of 6 rounds are incomplete: a round is an empty batch of the baseline and two long ones of each arm",
    ),
    "a slow round called dropped": (
        lambda r: [s.update(purpose="dropped") for s in r["samples"] if s["round"] == 2 and s["arm"] == "candidate"],
        "2 of 6 rounds are incomplete",
    ),
    "a noise floor that the outcome ignores": (
        lambda r: r["speedup"].update(floor=0.6),
        "a margin of 0.02 and a noise floor of 0.6",
    ),
    "another noise floor": (lambda r: r["speedup"].update(floor=0.009), "speedup.floor is 0.009, and the samples give"),
    "a control that was left out": (lambda r: r.update(control=None), "control.value is absent, and the samples give"),
    "sets of processes that were not run": (lambda r: r["speedup"].update(processes=9), "speedup.processes is 9, and"),
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
