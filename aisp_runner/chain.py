"""Whether the records of a file are all there, unchanged and in order: a chain of digests over its lines, with a signature
where there is a key.

docs/verify-record.md defines what is hashed, byte by byte, and says what an unsigned chain is worth. Blind spots: whoever can
rewrite the whole file can rebuild an unsigned chain; records cut off at the end leave a chain that is whole, and only the plan
tells that they are missing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from aisp_runner.errors import ConfigError

KEY_FILE = "AISP_SIGNING_KEY_FILE"
"""Environment variable that names the file of the signing key."""

KEY_BYTES = 32
"""A signing key has at least as many bytes as SHA-256 gives."""

TAIL_BYTES = 1 << 18
"""What is first read of a file's end to find its last record; doubled until it is found."""

DEPENDENT = ("sha256", "signature")
"""Keys of `chain` that are computed from all the rest, and so are left out of what is hashed."""


@dataclass(frozen=True)
class Key:
    """A signing key. Its bytes are in no message and in no record."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the key: which key it is, not what it is."""
        return hashlib.sha256(self.secret).hexdigest()[:16]

    def signature(self, content: bytes) -> str:
        """HMAC-SHA256, hexadecimal."""
        return hmac.new(self.secret, content, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class End:
    """What a new record is bound to."""

    last: dict[str, Any] | None
    """The last record of the file."""
    index: int
    """Of the next record."""
    torn: bool
    """Whether the file ends inside a line, as a process that was killed leaves it."""


class Break(NamedTuple):
    """One thing that is wrong with a chain."""

    position: int
    """Of the record that it was found at, from 0."""
    what: str
    expected: str
    found: str


def read_key(path: Path) -> Key:
    """The key in a file: all of its bytes, a line end included. Raises ConfigError for a file that is missing or too short."""
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the signing key cannot be read ({error.strerror}). Name a file with a key.") from None
    if len(secret) < KEY_BYTES:
        raise ConfigError(f"{path}: {len(secret)} bytes are no signing key; at least {KEY_BYTES} random ones are needed.")
    return Key(secret)


def signing_key() -> Key | None:
    """The key that AISP_SIGNING_KEY_FILE names, or None where it is not set. Raises ConfigError as `read_key` does."""
    name = os.environ.get(KEY_FILE, "")
    if not name:
        return None
    try:
        return read_key(Path(name))
    except ConfigError as error:
        raise ConfigError(f"{KEY_FILE}: {error}") from None


def canonical(record: dict[str, Any]) -> bytes:
    """What is hashed and signed of a record: ASCII JSON, keys sorted, no spaces, without what depends on it.

    record: as it is read back from its line; numbers are finite.
    """
    chain = record.get("chain")
    if isinstance(chain, dict):
        record = {**record, "chain": {key: value for key, value in chain.items() if key not in DEPENDENT}}
    return json.dumps(record, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii")


def digest(record: dict[str, Any]) -> str:
    """SHA-256 of the canonical form, hexadecimal."""
    return hashlib.sha256(canonical(record)).hexdigest()


def bound(record: dict[str, Any], end: End, key: Key | None = None) -> dict[str, Any]:
    """The record with its `chain`: which one it is, which one it follows, its digest, and a signature where there is a key."""
    previous = _known_as(end.last) if end.last is not None else str(record.get("plan_sha256", ""))
    chain: dict[str, Any] = {"index": end.index, "previous": previous}
    if key is not None:
        chain["key_id"] = key.id
    content = canonical({**record, "chain": chain})
    chain["sha256"] = hashlib.sha256(content).hexdigest()
    if key is not None:
        chain["signature"] = key.signature(content)
    return {**record, "chain": chain}


def end_of(file: BinaryIO) -> End:
    """What the next record of a file is bound to. A line that holds no record is passed over; it is `breaks` of others to tell.

    Reads the end of the file only, unless its last record has no chain: then the records before are counted.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return End(None, 0, False)
    file.seek(size - 1)
    torn = file.read(1) != b"\n"
    last, length = None, TAIL_BYTES
    while last is None:
        file.seek(max(0, size - length))
        lines = file.read().split(b"\n")
        whole = lines if length >= size else lines[1:]
        last = next((record for line in reversed(whole) if (record := parsed(line)) is not None), None)
        if length >= size:
            break
        length *= 2
    if last is None:
        return End(None, 0, torn)
    claimed = _claim(last)
    if claimed is not None:
        return End(last, int(claimed["index"]) + 1, torn)
    file.seek(0)
    return End(last, sum(1 for line in file if parsed(line) is not None), torn)


def parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line, or None where there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deeply to be a record
        return None
    return value if isinstance(value, dict) else None


def has_chain(record: dict[str, Any]) -> bool:
    """Whether a record says which place it has in its file. Those of older versions do not."""
    return _claim(record) is not None


def breaks(records: Sequence[dict[str, Any]]) -> list[Break]:
    """What is wrong with the chain of a file's records; empty where it is whole, and where no record has one.

    Records without a chain that come before all others are what an older version wrote, and are bound by the first that has
    one. Does not look at signatures.
    """
    claims = [_claim(record) for record in records]
    first = next((i for i, claim in enumerate(claims) if claim is not None), None)
    if first is None:
        return []
    wanted = "a chain, as the records before it have"
    found = [Break(i, "chain", wanted, "none") for i, claim in enumerate(claims) if claim is None and i > first]
    place = {i: i for i in range(first)}
    chained = [(i, claim) for i, claim in enumerate(claims) if claim is not None]
    for position, claim in chained:
        actual = digest(records[position])
        if actual != claim["sha256"]:
            what = "content changed after it was written, chain.sha256"
            found.append(Break(position, what, _short(claim["sha256"]), _short(actual)))
        if place.setdefault(claim["index"], position) != position:
            found.append(Break(position, "chain.index", "every index once", f"{claim['index']} again"))
    found += _misplaced([(i, claim["index"]) for i, claim in chained])
    return found + _gaps(place) + _links(records, claims, place)


def odd_one(record: dict[str, Any], end: End) -> str:
    """What is wrong with the chain of one record behind this end of a file, in words; "" where it is right.

    For a file that is read record by record. One without a chain is right as long as those before it have none.
    """
    claim = _claim(record)
    if claim is None:
        return "" if end.last is None or _claim(end.last) is None else "it has no chain, and those before it have one"
    if claim["index"] != end.index:
        return f"chain.index is {claim['index']}, and {end.index} is due"
    if claim["previous"] != (_known_as(end.last) if end.last is not None else str(record.get("plan_sha256", ""))):
        return "chain.previous does not name what stands before it"
    return "" if digest(record) == claim["sha256"] else "its content is not the one that chain.sha256 is of"


def unsigned(records: Sequence[dict[str, Any]], key: Key) -> list[Break]:
    """Records that this key has not signed as they stand."""
    found = []
    for position, record in enumerate(records):
        claim = _claim(record) or {}
        given, right = claim.get("signature"), key.signature(canonical(record))
        if not isinstance(given, str):
            found.append(Break(position, "chain.signature", f"one by the key {key.id}", "none"))
        elif claim.get("key_id") != key.id:
            found.append(Break(position, "signed with another key, chain.key_id", key.id, str(claim.get("key_id"))))
        elif not hmac.compare_digest(given.encode("ascii", "replace"), right.encode()):
            found.append(Break(position, "the key did not sign this content, chain.signature", _short(right), _short(given)))
    return found


def _claim(record: dict[str, Any]) -> dict[str, Any] | None:
    """A record's chain, where it has the form of one."""
    chain = record.get("chain")
    if not isinstance(chain, dict):
        return None
    index, texts = chain.get("index"), (chain.get("previous"), chain.get("sha256"))
    sound = isinstance(index, int) and not isinstance(index, bool) and index >= 0 and all(isinstance(t, str) for t in texts)
    return chain if sound else None


def _known_as(record: dict[str, Any]) -> str:
    """What the record after it names it by: the digest it claims, or that of its content where it has no chain."""
    claim = _claim(record)
    return str(claim["sha256"]) if claim is not None else digest(record)


def _misplaced(indices: Sequence[tuple[int, int]]) -> list[Break]:
    """Records that stand where another one would if they were sorted."""
    return [
        Break(position, "order of the records, chain.index", str(wanted), str(index))
        for (position, index), wanted in zip(indices, sorted(index for _, index in indices), strict=True)
        if index != wanted
    ]


def _gaps(place: dict[int, int]) -> list[Break]:
    """Indices that no record has, told at the record that follows them."""
    found, before = [], -1
    for index in sorted(place):
        if index > before + 1:
            lost = f"record {before + 1}" if index == before + 2 else f"records {before + 1} to {index - 1}"
            found.append(Break(place[index], "a record is missing, chain.index", f"{lost} before record {index}", "none"))
        before = index
    return found


def _links(records: Sequence[dict[str, Any]], claims: Sequence[dict[str, Any] | None], place: dict[int, int]) -> list[Break]:
    """Records that follow another one than they say."""
    found = []
    for index, position in sorted(place.items()):
        claim = claims[position]
        if claim is None or (index and index - 1 not in place):
            continue
        before = _known_as(records[place[index - 1]]) if index else str(records[position].get("plan_sha256", ""))
        if claim["previous"] != before:
            who = f"record {index - 1}" if index else "the plan"
            what = f"{who} is not the one that it was written after, chain.previous"
            found.append(Break(position, what, _short(claim["previous"]), _short(before)))
    return found


def _short(digest: str) -> str:
    return digest[:12]
