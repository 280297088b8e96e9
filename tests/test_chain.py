"""The chain of records: what binds a line to the one before, and what it tells when a file was doctored."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import refused_record, valid_record

from aisp_runner import chain, record
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError

SECRET = bytes(range(200, 232))
Records = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(chain.KEY_FILE, raising=False)


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key on the disk, which the environment names."""
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    monkeypatch.setenv(chain.KEY_FILE, str(path))
    return path


def written(path: Path, count: int = 4) -> Records:
    """The records of a file, as they are read back, after `count` more were appended."""
    for number in range(count):
        record.append(path, refused_record(message=f"number {number}", errors={"c": {"max_abs": math.nan, "max_rel": 0.1}}))
    return record.read(path)


def rewrite(path: Path, records: Records) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def test_the_canonical_form_is_sorted_ascii_json_without_what_depends_on_it() -> None:
    r = {
        "b": "\u00e9\U0001f600",
        "a": [1.5, 10**20, 1e22, -0.0, None, True],
        "chain": {"sha256": "x", "previous": "p", "index": 0},
    }
    by_hand = (
        b'{"a":[1.5,100000000000000000000,1e+22,-0.0,null,true],"b":"\\u00e9\\ud83d\\ude00","chain":{"index":0,"previous":"p"}}'
    )
    assert chain.canonical(r) == by_hand
    assert chain.digest(r) == hashlib.sha256(by_hand).hexdigest()


def test_each_record_names_the_digest_of_the_one_before_and_the_first_names_the_plan(tmp_path: Path) -> None:
    records = written(tmp_path / "records.jsonl")
    assert [r["chain"]["index"] for r in records] == [0, 1, 2, 3]
    assert [r["chain"]["previous"] for r in records] == ["ab" * 32, *(r["chain"]["sha256"] for r in records[:-1])]
    assert chain.breaks(records) == []
    for r in records:
        record.validate(r)
        rest = {**r, "chain": {key: r["chain"][key] for key in ("index", "previous")}}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        assert r["chain"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("odd", ["\udcff", "\ud83d\ude00", "\u2028\x00", "NaN"], ids=ascii)
def test_what_json_writes_otherwise_than_it_was_given_does_not_break_the_chain(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "records.jsonl"
    record.append(path, refused_record(message=odd, stages_s={"start": 1e-7, "total": 3}))
    record.append(path, refused_record(errors={"c": {"max_abs": math.inf}}))
    assert chain.breaks(record.read(path)) == []


def test_a_file_written_with_other_spaces_and_in_another_order_of_keys_still_is_whole(tmp_path: Path) -> None:
    records = written(tmp_path / "records.jsonl")
    again = [json.loads(json.dumps(dict(reversed(r.items())), indent=1)) for r in records]
    assert chain.breaks(again) == []


def edit(position: int, **changes: Any) -> Callable[[Records], Records]:
    def doctor(records: Records) -> Records:
        records[position].update(changes)
        return records

    return doctor


def rehashed(records: Records) -> Records:
    """Record 1 is replaced and given the right digest of its new content; the one after it is left alone."""
    end = chain.End(records[0], 1, False)
    records[1] = chain.bound({**records[1], "message": "as if it had always said so"}, end)
    return records


def bare(records: Records) -> Records:
    del records[2]["chain"]
    return records


def other_index(records: Records) -> Records:
    records[1]["chain"]["index"] = 10**12
    return records


CONTENT = "content changed after it was written, chain.sha256"
MISSING = "a record is missing, chain.index"
ORDER = "order of the records, chain.index"
LINK = "record {} is not the one that it was written after, chain.previous"

DOCTORED: dict[str, tuple[Callable[[Records], Records], list[tuple[int, str]]]] = {
    "an edited message": (edit(1, message="fine"), [(1, CONTENT)]),
    "an edited last record": (edit(3, phase="detect"), [(3, CONTENT)]),
    "another plan in the first record": (
        edit(0, plan_sha256="cd" * 32),
        [(0, CONTENT), (0, LINK.replace("record {}", "the plan"))],
    ),
    "two swapped records": (lambda r: [r[0], r[2], r[1], r[3]], [(1, ORDER), (2, ORDER)]),
    "the last moved to the front": (lambda r: [r[3], *r[:3]], [(0, ORDER), (1, ORDER), (2, ORDER), (3, ORDER)]),
    "the first one removed": (lambda r: r[1:], [(0, MISSING)]),
    "one in the middle removed": (lambda r: [r[0], *r[2:]], [(1, MISSING)]),
    "two in the middle removed": (lambda r: [r[0], r[3]], [(1, MISSING)]),
    "one written twice": (lambda r: [*r, r[1]], [(4, "chain.index"), (2, ORDER), (3, ORDER), (4, ORDER)]),
    "one replaced, digest and all": (rehashed, [(2, LINK.format(1))]),
    "one without its chain": (bare, [(2, "chain"), (3, MISSING)]),
    "an index that was made up": (other_index, [(1, CONTENT), (1, ORDER), (2, ORDER), (3, ORDER), (1, MISSING), (2, MISSING)]),
    "a chain that is no chain": (edit(1, chain={"index": True}), [(1, "chain"), (2, MISSING)]),
}


@pytest.mark.parametrize(("doctor", "told"), DOCTORED.values(), ids=DOCTORED)
def test_the_chain_names_the_record_and_what_was_done(
    tmp_path: Path, doctor: Callable[[Records], Records], told: list[tuple[int, str]]
) -> None:
    found = chain.breaks(doctor(written(tmp_path / "records.jsonl")))
    assert sorted((b.position, b.what) for b in found) == sorted(told)


def test_missing_records_are_named_by_their_numbers(tmp_path: Path) -> None:
    records = written(tmp_path / "records.jsonl")
    assert chain.breaks([records[0], records[3]])[0].expected == "records 1 to 2 before record 3"
    assert chain.breaks(records[1:])[0].expected == "record 0 before record 1"


def test_records_cut_off_at_the_end_leave_a_chain_that_is_whole(tmp_path: Path) -> None:
    """The blind spot that docs/verify-record.md names: only the plan tells that they are missing."""
    assert chain.breaks(written(tmp_path / "records.jsonl")[:2]) == []


def test_records_of_an_older_version_have_no_chain_and_that_breaks_none(tmp_path: Path) -> None:
    assert chain.breaks([valid_record(), refused_record()]) == []
    assert not chain.has_chain(valid_record())


def test_a_run_that_goes_on_in_an_older_file_binds_what_it_finds_there(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    rewrite(path, [valid_record(), refused_record()])
    records = written(path, 2)
    assert [r.get("chain", {}).get("index") for r in records] == [None, None, 2, 3]
    assert chain.breaks(records) == []
    records[1]["message"] = "edited"
    assert [(b.position, b.what) for b in chain.breaks(records)] == [(2, LINK.format(1))]
    assert [(b.position, b.what) for b in chain.breaks(record.read(path)[1:])] == [(1, MISSING)]


def test_a_line_that_was_cut_off_is_left_alone_and_the_chain_goes_on_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    written(path, 2)
    path.write_bytes(path.read_bytes() + b'{"format": 2, "work')
    record.append(path, valid_record())
    lines = path.read_bytes().splitlines()
    assert lines[2] == b'{"format": 2, "work'
    records = [r for line in lines if (r := chain.parsed(line)) is not None]
    assert [r["chain"]["index"] for r in records] == [0, 1, 2]
    assert chain.breaks(records) == []


def test_a_record_that_lacks_only_its_line_end_is_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    written(path, 2)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    records = written(path, 1)
    assert [r["chain"]["index"] for r in records] == [0, 1, 2]
    assert chain.breaks(records) == []


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"[1]\nnot JSON\n\xff\xfe"], ids=["empty", "blank lines", "no record at all"]
)
def test_in_a_file_without_a_record_the_first_one_has_index_0(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    record.append(path, valid_record())
    last = chain.parsed(path.read_bytes().splitlines()[-1])
    assert last is not None
    assert (last["chain"]["index"], last["chain"]["previous"]) == (0, last["plan_sha256"])


def test_the_last_record_is_found_however_little_is_read_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "TAIL_BYTES", 7)
    assert chain.breaks(written(tmp_path / "records.jsonl", 3)) == []


def test_two_processes_that_append_at_the_same_time_leave_one_whole_chain(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    code = "import json, sys; from aisp_runner import record; r = json.loads(sys.argv[2])\n"
    code += "for _ in range(25): record.append(sys.argv[1], r)"
    command = [sys.executable, "-c", code, str(path), json.dumps(refused_record(samples=[]))]
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    running = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    records = record.read(path)
    assert [r["chain"]["index"] for r in records] == list(range(50))
    assert chain.breaks(records) == []


def test_a_signature_is_an_hmac_of_the_canonical_form_and_the_record_has_no_more_of_the_key_than_its_id(
    tmp_path: Path, key_file: Path
) -> None:
    path = tmp_path / "records.jsonl"
    (signed,) = written(path, 1)
    told = signed["chain"]
    record.validate(signed)
    assert told["key_id"] == hashlib.sha256(SECRET).hexdigest()[:16]
    rest = {**signed, "chain": {key: told[key] for key in ("index", "previous", "key_id")}}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    assert told["signature"] == hmac.new(SECRET, text, hashlib.sha256).hexdigest()
    assert SECRET.hex() not in path.read_text() and str(key_file) not in path.read_text()
    assert SECRET.hex() not in repr(chain.Key(SECRET)) and repr(SECRET) not in repr(chain.Key(SECRET))


def test_a_chain_that_was_rebuilt_without_the_key_is_whole_and_not_signed(tmp_path: Path, key_file: Path) -> None:
    records, key = written(tmp_path / "records.jsonl", 3), chain.read_key(key_file)
    assert chain.unsigned(records, key) == []
    forged: Records = []
    for r in records:
        end = chain.End(forged[-1] if forged else None, len(forged), False)
        forged.append(chain.bound({**r, "message": "forged"}, end))
    assert chain.breaks(forged) == []
    assert [(b.position, b.what, b.found) for b in chain.unsigned(forged, key)] == [
        (i, "chain.signature", "none") for i in range(3)
    ]


def test_another_key_and_another_content_are_told_apart(tmp_path: Path, key_file: Path) -> None:
    records, key = written(tmp_path / "records.jsonl", 2), chain.read_key(key_file)
    other = chain.Key(b"another key, of 32 bytes or more")
    assert {(b.what, b.expected, b.found) for b in chain.unsigned(records, other)} == {
        ("signed with another key, chain.key_id", other.id, key.id)
    }
    records[1]["message"] = "edited"
    (told,) = chain.unsigned(records, key)
    assert (told.position, told.what) == (1, "the key did not sign this content, chain.signature")
    records[1]["chain"]["signature"] = "\ud800"
    assert [b.position for b in chain.unsigned(records, key)] == [1]


def test_a_key_that_cannot_be_read_ends_the_run_and_loses_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, missing = tmp_path / "records.jsonl", tmp_path / "no key"
    monkeypatch.setenv(chain.KEY_FILE, str(missing))
    said = f"AISP_SIGNING_KEY_FILE: {missing}: the signing key cannot be read .* The record is in {path}, without a signature."
    with pytest.raises(ConfigError, match=said):
        record.append(path, valid_record())
    assert ["signature" in r["chain"] for r in record.read(path)] == [False]


def test_a_short_key_is_none(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("secret")
    with pytest.raises(ConfigError, match="6 bytes are no signing key; at least 32 random ones are needed"):
        chain.read_key(tmp_path / "short")
