"""Whether a record says rightly where it was first written, which one it takes the place of, and what its key is.

A merged record keeps the chain of the file it comes from (`origin`). With that in the place of its own it must be what was
written there; so the chain of each shard can be checked in the merged file alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aisp_runner import chain, keys
from aisp_runner.against_plan import claimed_identity
from aisp_runner.chain import Break
from aisp_runner.record_file import known_as


def first_written(record: dict[str, Any]) -> dict[str, Any]:
    """A merged record as it stands in the file it comes from; any other as it is."""
    origin = record.get("origin")
    if not isinstance(origin, dict):
        return record
    return {key: value for key, value in record.items() if key != "origin"} | {"chain": origin.get("chain")}


def moved(record: dict[str, Any], shard: str) -> dict[str, Any]:
    """A record of a shard's file, which has a chain, as it goes into another file; one that was merged before keeps its
    first origin.
    """
    bare = {key: value for key, value in record.items() if key != "chain"}
    return bare if "origin" in record else bare | {"origin": {"shard": shard, "chain": record["chain"]}}


def breaks(records: Sequence[dict[str, Any]]) -> list[Break]:
    """What is wrong; empty where all is right. records: those of a file, in its order."""
    places: dict[str, int] = {}
    for place, record in enumerate(records):
        places.setdefault(known_as(record), place)
    found: list[Break] = []
    for place, record in enumerate(records):
        found += _of_key(place, record) + _of_origin(place, record, places) + _of_superseded(place, record, records, places)
    return found


def unsigned(records: Sequence[dict[str, Any]], key: chain.Key) -> list[Break]:
    """Merged records that this key signed in the file they come from, and not as they stand there."""
    mine = [(n, r) for n, r in enumerate(map(first_written, records)) if "origin" in records[n] and _signed_by(r, key)]
    broken = chain.unsigned([r for _, r in mine], key)
    return [Break(mine[b.position][0], f"origin: {b.what}", b.expected, b.found) for b in broken]


def _signed_by(record: dict[str, Any], key: chain.Key) -> bool:
    return isinstance(record.get("chain"), dict) and record["chain"].get("key_id") == key.id


def _of_key(place: int, record: dict[str, Any]) -> list[Break]:
    key = record.get("key")
    if not isinstance(key, dict) or key.get("sha256") == keys.digest(key):
        return []
    return [
        Break(place, "its key is not the digest of the key's parts, key.sha256", keys.digest(key)[:12], str(key["sha256"])[:12])
    ]


def _of_origin(place: int, record: dict[str, Any], places: dict[str, int]) -> list[Break]:
    if "origin" not in record:
        return []
    was = first_written(record)
    if not chain.has_chain(was):
        return [Break(place, "origin.chain", "the chain of the file it comes from", "none")]
    claim, actual = was["chain"], chain.digest(was)
    if actual != claim["sha256"]:
        return [
            Break(place, "content changed since it was first written, origin.chain.sha256", claim["sha256"][:12], actual[:12])
        ]
    if claim["index"] == 0:
        plan = str(record.get("plan_sha256"))
        return (
            []
            if claim["previous"] == plan
            else [Break(place, "origin.chain.previous", f"the plan {plan[:12]}", claim["previous"][:12])]
        )
    if places.get(claim["previous"], place) < place:
        return []
    return [Break(place, "the record it was first written after, origin.chain.previous", "before it in this file", "none")]


def _of_superseded(
    place: int, record: dict[str, Any], records: Sequence[dict[str, Any]], places: dict[str, int]
) -> list[Break]:
    said = record.get("supersedes")
    if not isinstance(said, dict):
        return []
    other = places.get(str(said.get("sha256")), place)
    if other >= place:
        return [Break(place, "the record that it takes the place of, supersedes.sha256", "before it in this file", "none")]
    try:
        same = claimed_identity(records[other]) == claimed_identity(record)
    except (AttributeError, KeyError, TypeError):  # no record: the schema's complaint says so
        return []
    return (
        []
        if same
        else [Break(place, "the record that it takes the place of, supersedes.sha256", "of the same case", "of another")]
    )
