"""Records: what was measured and concluded about one case, one line of records.jsonl each.

The layout and the meaning of every key are in schemas/record.schema.json. This module imports neither torch nor Hydra, and
does without jsonschema where a machine lacks it.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aisp_runner import chain, record_file, verdict
from aisp_runner.content import installed_root
from aisp_runner.errors import AispError, ConfigError, DiskError, did_you_mean
from aisp_runner.statistics import Calls, Estimate, Interval, Round, by_stamps, estimate, stamped_rounds

FILE = "records.jsonl"
"""Name of the records in a run's folder."""

TOLERANCE = 0.001
"""How far, as a fraction, a claimed number may lie from what its own samples give: room for rounding, no more."""


def validate(record: dict[str, Any]) -> None:
    """Hold a record to schemas/record.schema.json; raises AispError that lists what is wrong with it, at most five things.

    Numbers that are not finite are read as `append` writes them: as text, which the schema allows for errors alone.
    """
    wrong = complaints(finite(record), "record")
    if wrong:
        raise AispError(f"record of {_title(record)}: {'; '.join(wrong[:5])}. See schemas/record.schema.json.")


def append(path: Path | str, record: dict[str, Any]) -> None:
    """Add one line, bound to the one before (chain.py), which is on the disk when this returns. The record is not checked:
    what was measured is kept first.

    Raises DiskError where the disk refuses it; the file is what it was before. Raises ConfigError where AISP_SIGNING_KEY_FILE
    names no key; the record has been written by then, without a signature.
    """
    try:
        key, unreadable = chain.signing_key(), None
    except ConfigError as error:
        key, unreadable = None, error
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise DiskError(f"{path}: cannot be opened for writing: {error.strerror}. Its records are unchanged.") from None
    with os.fdopen(descriptor, "rb") as file, record_file.locked(descriptor):
        end = chain.end_of(file)
        text = record_file.encoded(chain.bound(finite(record), end, key))
        record_file.add_line(descriptor, b"\n" * end.torn + text + b"\n", path)
    if unreadable is not None:
        raise ConfigError(f"{unreadable} The record is in {path}, without a signature.")


def read(path: Path | str) -> list[dict[str, Any]]:
    """The records of a file, each held to the schema. Raises ConfigError naming the file and the line."""
    records = []
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a folder that aisp-run wrote.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{where}: not a JSON line ({error}). Delete that line to read the rest.") from None
        wrong = complaints(record, "record")
        if wrong:
            raise ConfigError(f"{where}: {'; '.join(wrong[:5])}. It was written by another version, or edited by hand.")
        records.append(record)
    return records


def standing(path: Path | str) -> list[dict[str, Any]]:
    """The same, without those that another record of the file takes the place of."""
    return record_file.standing(read(path))


def recompute(record: dict[str, Any]) -> list[str]:
    """Contradictions inside one record: what it concludes held against its own samples and evidence. Empty when it agrees.

    Blind to a record whose samples were invented to match: it says that a record agrees with itself, not that it is true.
    """
    return [*_status_contradictions(record), *_sample_contradictions(record), *_speedup_contradictions(record)]


def finite(value: Any) -> Any:
    """The same value with NaN and infinities as the words "NaN", "Infinity" and "-Infinity", which JSON can carry."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def complaints(document: Any, name: str) -> list[str]:
    """What schemas/<name>.schema.json has against a document, each as "place: what".

    Without jsonschema, missing and unknown keys at the top are all that is seen.
    """
    schema = _schema(name)
    if not isinstance(document, dict):
        return [f"{document!r:.40} is not a mapping"]
    properties = schema.get("properties", {})
    found = [f"{key}: missing" for key in schema.get("required", ()) if key not in document]
    found += [f"{key}: unknown key.{did_you_mean(key, properties)}" for key in document if key not in properties]
    try:
        import jsonschema
    except ImportError:
        return found
    errors = jsonschema.Draft7Validator(schema).iter_errors(document)
    follows = ("then", "else")  # what follows from the status is said last: the status itself may be what is wrong
    for error in sorted(errors, key=lambda e: (e.absolute_schema_path[0] in follows, [str(p) for p in e.absolute_path])):
        if error.absolute_path or error.validator not in ("required", "additionalProperties"):
            found.append(f"{_place(error.absolute_path)}: {error.message[:200]}")
    return found


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    """A schema with the schemas it refers to in place."""
    path = installed_root() / "schemas" / f"{name}.schema.json"
    try:
        schema: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise AispError(f"schemas/{name}.schema.json: {error.strerror}. Install aisp-run again.") from None
    return _inlined(schema, path.parent)


def _inlined(node: Any, folder: Path) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target = json.loads((folder / node["$ref"]).read_text("utf-8"))
            return _inlined({k: v for k, v in target.items() if not k.startswith("$")}, folder)
        return {k: _inlined(v, folder) for k, v in node.items()}
    return [_inlined(v, folder) for v in node] if isinstance(node, list) else node


def _place(path: Iterable[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "record"


def _title(record: dict[str, Any]) -> str:
    return f"{record.get('workload', '?')} / {record.get('variant', '?')}"


def _status_contradictions(record: dict[str, Any]) -> list[str]:
    status, reasons = record["status"], record["reasons"]
    found = []
    for key in ("speedup", "outcome"):
        untold = key == "speedup" and record["outcome"] == "UNDECIDED"  # the clock could not tell
        if (record[key] is not None) != (status == "VALID") and not (status == "VALID" and untold):
            found.append(f"{key} is {'absent' if record[key] is None else 'present'} although the status is {status}")
    if status == "VALID" and reasons:
        found.append(f"the status is VALID although there are reasons against it: {', '.join(reasons)}")
    if status in ("INVALID", "INCONCLUSIVE") and not reasons:
        found.append(f"the status is {status} without a reason")
    failed = {e["protection"] for e in record["evidence"] if e["status"] == "fail" and e["witness"] == "judge"}
    if status == "VALID" and failed:
        found.append(f"the status is VALID although the judge saw these fail: {', '.join(sorted(failed))}")
    if status == "INVALID":
        seen = {e["protection"] for e in record["evidence"] if e["status"] == "fail"}
        found += [f"{reason} is a reason, and no evidence of it failed" for reason in reasons if reason not in seen]
    for name, error in record["errors"].items():
        if error.get("outputs_checked", 0) > error.get("outputs_total", math.inf):
            found.append(f"errors.{name}: {error['outputs_checked']} outputs were checked of {error['outputs_total']}")
    return found


def _sample_contradictions(record: dict[str, Any]) -> list[str]:
    clock, samples = record["clock"] or {}, record["samples"]
    found = []
    for i, s in enumerate(samples):
        if s["issued_ns"] > s["done_ns"]:
            found.append(f"samples[{i}]: done before it was issued")
        allowed = [*(clock.get("calls") or {}).get(_variant(s["arm"]), [s["calls"]]), 0]
        if s["purpose"] == "round" and s["calls"] not in allowed:
            found.append(f"samples[{i}]: a batch of {s['calls']} calls of the {s['arm']}, and clock.calls says {allowed[:-1]}")
    if record["status"] != "VALID":
        return found
    if not samples:
        found.append("the status is VALID without a sample")
    numbers = {(s["process"], s["round"]) for s in samples if s["purpose"] == "round"}
    if len(_rounds(record)) != len(numbers):
        whole = "an empty batch of the baseline and two long ones of each arm"
        found.append(f"{len(numbers) - len(_rounds(record))} of {len(numbers)} rounds are incomplete: a round is {whole}")
    return found + (_device_contradictions(record) if by_device(record) else [])


def _device_contradictions(record: dict[str, Any]) -> list[str]:
    """Of a VALID record that time stamps decide."""
    found, clock = [], record["clock"]
    if record["candidate"] is not None:
        found.append("clock.source is device, and time stamps decide nothing about an outside candidate")
    if clock["claim"] != "kernel" or clock["mode"] not in ("graph", "gated"):
        found.append(f"clock.source is device, and time stamps decide no claim of {clock['claim']} in mode {clock['mode']}")
    numbers, whole = {(s["process"], s["round"]) for s in record["samples"] if s["purpose"] == "device"}, _stamped(record)
    if len(whole) != len(numbers):
        lacking = f"{len(numbers) - len(whole)} of {len(numbers)} rounds of time stamps are incomplete"
        found.append(f"{lacking}: such a round is two batches of each arm")
    return found


def by_device(record: dict[str, Any]) -> bool:
    """Whether the device's time stamps decided, and not the judge's clock. Older records do not say, and none of them did."""
    return bool((record["clock"] or {}).get("source") == "device")


def _variant(arm: str) -> str:
    """The control runs the baseline's calls."""
    return "candidate" if arm == "candidate" else "baseline"


def _speedup_contradictions(record: dict[str, Any]) -> list[str]:
    speedup = record["speedup"]
    if speedup is None:
        return []
    found = []
    low, value, high, margin = (speedup[key] for key in ("low", "value", "high", "margin"))
    if not low <= value <= high:
        found.append(f"speedup.value {value:.4g} is outside its own interval [{low:.4g}, {high:.4g}]")
    floor = speedup.get("floor") or 0.0
    concluded = verdict.outcome(Interval(value, low, high, speedup["confidence"]), margin, floor)
    if record["outcome"] != concluded:
        interval = f"an interval of [{low:.4g}, {high:.4g}], a margin of {margin:g} and a noise floor of {floor:.2g}"
        found.append(f"the outcome is {record['outcome']} with {interval}")
    return found + _estimate_contradictions(record)


def _estimate_contradictions(record: dict[str, Any]) -> list[str]:
    if record.get("unprotected"):
        return []
    if not _rounds(record) or (by_device(record) and not _stamped(record)):
        return ["there is no round that the speed-up could come from"]
    if (again := estimated(record)) is None or again.speedup is None:
        return ["the samples give a time a call that is not positive, so no speed-up"]
    return [said(*numbers) for numbers in misstated(record, again)]


def estimated(record: dict[str, Any]) -> Estimate | None:
    """The estimator run again on the raw samples, of the clock that decided; None where there is no complete round.

    Also None for an unprotected record: its numbers may come from the worker's own clock, and claim nothing.
    """
    rounds = [] if record.get("unprotected") else _rounds(record)
    if not rounds:
        return None
    sealed = estimate(rounds, _calls(record))
    if not by_device(record):
        return sealed
    stamped = _stamped(record)
    return by_stamps(stamped, sealed) if stamped else None


def misstated(record: dict[str, Any], again: Estimate) -> list[tuple[str, Any, float | None]]:
    """(name, what the record claims, what its samples give) of each number of the speed-up that differs."""
    speedup = vars(again.speedup) if again.speedup else {}
    told = {"floor": again.floor, "mde": again.mde, "used": again.used, "processes": len(again.by_process)}
    arms = {f"{arm}_us": ns / 1000 for arm, ns in again.arms_ns.items()}
    values = {
        "speedup": {**speedup, **told},
        "control": vars(again.control) if again.control else {},
        "clock": {**arms, "handshake_us": again.handshake_ns / 1000, "naive_speedup": finite(again.naive)},
    }
    return [
        (f"{part}.{key}", claim, value)
        for part, parts in values.items()
        for key, value in parts.items()
        if not _same(claim := finite((record[part] or {}).get(key)), value)
    ]


def said(name: str, claim: Any, value: float | None) -> str:
    """One of `misstated` as a sentence."""
    return f"{name} is {_number(claim)}, and the samples give {_number(value)}"


def _same(claim: Any, value: float | str | None) -> bool:
    """Whether a claimed number is the one that was computed again; absolutely within a millionth where it is near 0."""
    if claim is None or value is None or isinstance(value, str):
        return bool(claim == value)
    return isinstance(claim, int | float) and math.isclose(claim, value, rel_tol=TOLERANCE, abs_tol=1e-6)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "absent"


def _calls(record: dict[str, Any]) -> Calls:
    calls = record["clock"]["calls"]
    return Calls(tuple(calls["baseline"]), tuple(calls["candidate"]))


def _stamped(record: dict[str, Any]) -> list[Round]:
    """The complete rounds of time stamps."""
    told = [s for s in record["samples"] if s["purpose"] == "device" and "quarter_ns" in (s.get("device") or {})]
    return stamped_rounds((s["process"], s["round"], s["arm"], s["device"]["quarter_ns"]) for s in told)


def _rounds(record: dict[str, Any]) -> list[Round]:
    """The complete rounds; warm-up, dropped rounds and what is not a round are left out."""
    if not (record["clock"] or {}).get("calls"):
        return []
    calls = _calls(record)
    groups: dict[tuple[int, int], dict[tuple[str, int], list[float]]] = {}
    for s in record["samples"]:
        if s["purpose"] == "round":
            group = groups.setdefault((s["round"], s["process"]), {})
            group.setdefault((s["arm"], s["calls"]), []).append(float(s["done_ns"] - s["issued_ns"]))
    rounds, both = [], {"baseline", "candidate"}
    roles = both | {arm for times in groups.values() for arm, _ in times}
    for (_, process), times in sorted(groups.items()):
        arms = {arm for arm, _ in times}
        long = {arm: tuple(times.get((arm, calls.of(arm)[1]), ())) for arm in arms}
        short = {arm: times[arm, calls.of(arm)[0]][0] for arm in arms if (arm, calls.of(arm)[0]) in times}
        if ("baseline", 0) in times and arms == roles and all(len(ns) == 2 for ns in long.values()):
            rounds.append(Round(process, times["baseline", 0][0], short if short.keys() >= both else {}, long))
    return rounds
