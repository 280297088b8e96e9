"""The quarantine file: comparisons whose numbers are withheld until they are verified again.

A plain, sorted file that a pull request can review: quarantine.yaml in the working directory, or the file that
AISP_QUARANTINE names. Where PyYAML is missing its content is written as JSON, which is YAML too. An entry goes in two ways
only: a later run in phase quarantine or gate in which all its recorded cases are VALID, or `aisp quarantine release NAME
--because TEXT`.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aisp_runner import config_text
from aisp_runner.errors import ConfigError, did_you_mean
from aisp_runner.record import complaints, finite
from aisp_runner.yaml_bounds import LEDGER, value

try:
    import fcntl
except ImportError:  # Not a POSIX system: two runs at once may then lose one another's entries.
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
PHASES = ("quarantine", "gate")
"""Phases that write the file. Detect only reports."""

HEADER = """\
# Comparisons whose numbers are withheld. Written by aisp-run; review it like code.
# An entry goes when a run with verify.phase=quarantine or gate finds all its cases VALID, or with
#   aisp quarantine release NAME --because "the reason"
"""


def default_path() -> Path:
    """The file that AISP_QUARANTINE names, or quarantine.yaml in the working directory."""
    return Path(os.environ.get("AISP_QUARANTINE") or "quarantine.yaml")


def key_of(record: dict[str, Any]) -> str:
    """workload/variant; an outside candidate has its own name, workload/theirs.py::fast, without its folder."""
    candidate = record.get("candidate")
    return f"{record['workload']}/{str(candidate).rsplit('/', 1)[-1] if candidate else record['variant']}"


def case_of(record: dict[str, Any]) -> str:
    """The axis values, sorted, and the device: "m=4 n=262144 cpu", with "held_out" at the end where it is."""
    case = record["case"]
    words = [f"{name}={value}" for name, value in sorted(case["axes"].items())]
    return " ".join([*words, case["device"], *(["held_out"] if case["held_out"] else [])])


def digest(record: dict[str, Any]) -> str:
    """sha256:<hexadecimal> of a record's canonical JSON, without the key "quarantined", which is only decided by this file."""
    kept = {key: value for key, value in record.items() if key != "quarantined"}
    return "sha256:" + hashlib.sha256(json.dumps(finite(kept), sort_keys=True).encode()).hexdigest()


def load(path: Path | str) -> dict[str, Any]:
    """{"entries": {key: entry}, "released": [...]}; both empty without a file. Raises ConfigError for a file it cannot read."""
    path = Path(path)
    try:
        text = config_text.read(path, most=LEDGER.size)
    except FileNotFoundError:
        return {"format": FORMAT, "entries": {}, "released": []}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Name another file with AISP_QUARANTINE.") from None
    content = _strings(_parse(path, text) or {})
    wrong = complaints(content, "quarantine")
    if wrong:
        raise ConfigError(f"{path}: {'; '.join(wrong[:5])}. See schemas/quarantine.schema.json.")
    return {"format": FORMAT, "entries": content.get("entries") or {}, "released": content.get("released") or []}


def is_quarantined(path: Path | str, record: dict[str, Any]) -> bool:
    """Whether the comparison this record is about is in quarantine."""
    return key_of(record) in load(path)["entries"]


def add(path: Path | str, record: dict[str, Any], run_dir: Path | str | None = None) -> str:
    """Put a refused comparison into quarantine, or its case to what is recorded of it. Returns its key."""
    path, key = Path(path), key_of(record)
    with _changing(path) as content:
        entry = content["entries"].setdefault(key, {"evidence": []})
        entry["reason"] = sorted({*entry.get("reason", ()), *record["reasons"]}) or ["status." + record["status"].lower()]
        entry["message"], entry["date"] = record["message"], record.get("started") or _now()
        item = {"case": case_of(record), "run_dir": _relative(run_dir, path), "record": digest(record)}
        entry["evidence"] = sorted(
            [*({k: v for k, v in e.items() if k != "valid_in"} for e in entry["evidence"] if e["case"] != item["case"]), item],
            key=lambda e: e["case"],
        )
    return key


def verified_again(path: Path | str, record: dict[str, Any], run_dir: Path | str | None = None) -> bool:
    """Note that a case is VALID again; True when that was the last one of its entry and the entry is gone.

    Counts in phase quarantine and gate only, with protections on, and cases count together only within one run: `run_dir`, or
    the plan where none is given.
    """
    path, key, case = Path(path), key_of(record), case_of(record)
    if record["status"] != "VALID" or record["phase"] not in PHASES or record.get("unprotected"):
        return False
    if key not in load(path)["entries"]:
        return False
    run = _relative(run_dir, path) or "plan " + str(record["plan_sha256"])[:8]
    with _changing(path) as content:
        evidence = content["entries"].get(key, {}).get("evidence", [])
        for item in evidence:
            if item["case"] == case:
                item["valid_in"] = run
        released = bool(evidence) and all(item.get("valid_in") == run for item in evidence)
        if released:
            del content["entries"][key]
    return released


def update(path: Path | str, record: dict[str, Any], run_dir: Path | str | None = None) -> bool:
    """What a finished case does to the file; returns whether the comparison is in quarantine afterwards.

    INVALID enters it, VALID may leave it, both in phase quarantine and gate only. INCONCLUSIVE and ERROR change nothing: they
    say nothing about the candidate.
    """
    if record["phase"] in PHASES and record["status"] == "INVALID":
        add(path, record, run_dir)
    verified_again(path, record, run_dir)
    return is_quarantined(path, record)


def release(path: Path | str, key: str, because: str) -> dict[str, Any]:
    """Let an entry out on a person's word, which the file keeps. Returns the entry.

    Raises ConfigError for an unknown key and for an empty reason.
    """
    path = Path(path)
    if not because.strip():
        raise ConfigError('--because is empty. Say why its numbers may be shown, such as --because "fixed in the kernel".')
    known = load(path)["entries"]
    if key not in known:
        names = f" In quarantine: {', '.join(sorted(known))}." if known else " Nothing is in quarantine."
        raise ConfigError(f"{path}: {key!r} is not in quarantine.{did_you_mean(key, known)}{names}")
    with _changing(path) as content:
        entry: dict[str, Any] = content["entries"].pop(key)
        content["released"].append({"name": key, "because": because.strip(), "date": _now(), "reason": entry["reason"]})
    return entry


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[dict[str, Any]]:
    """The file's content, to be changed in place; written at the end, whole or not at all, while no other run writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        content = load(path)
        yield content
        _write(path, content)
    finally:
        os.close(lock)


def _write(path: Path, content: dict[str, Any]) -> None:
    kept = {key: value for key, value in content.items() if value}
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(HEADER + _dump(kept))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _dump(content: dict[str, Any]) -> str:
    try:
        import yaml
    except ImportError:
        return json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    class Plain(yaml.SafeDumper):
        """Without the anchors that make a diff hard to read."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    text: str = yaml.dump(content, Dumper=Plain, sort_keys=True, allow_unicode=True, default_flow_style=False, width=120)
    return text


def _parse(path: Path, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        try:
            return json.loads(bare) if bare.strip() else {}
        except json.JSONDecodeError:
            raise ConfigError(f"{path}: is YAML, and PyYAML is not installed here. Install it: pip install pyyaml.") from None
    try:
        return value(text, str(path), LEDGER)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}. Correct it by hand, or restore it.") from None


def _strings(value: Any) -> Any:
    """Dates as text: an unquoted date of a hand-made edit is a date to YAML."""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): _strings(v) for k, v in value.items()}
    return [_strings(v) for v in value] if isinstance(value, list) else value


def _relative(run_dir: Path | str | None, path: Path) -> str:
    return os.path.relpath(run_dir, path.parent) if run_dir else ""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
