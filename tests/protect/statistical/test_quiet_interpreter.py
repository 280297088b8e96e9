"""Garbage collections in timed batches, in a real worker's bookkeeping and in a real run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import case, tried

from aisp_runner.forkserver import ForkServer
from aisp_runner.protect.statistical.quiet_interpreter import QuietInterpreter

pytest_plugins = ("shared_server",)

COLLECTS = """
import gc

def candidate(a, b, c):
    gc.collect(0)
    torch.add(a, b, out=c)
"""

SWITCHES_ON = """
import gc

def candidate(a, b, c):
    gc.set_threshold(10)
    gc.enable()
    for _ in range(50):
        one = []
        one.append(one)
    torch.add(a, b, out=c)
"""

COLLECTS_AT_FIRST = """
import gc

calls = []

def candidate(a, b, c):
    calls.append(1)
    if len(calls) <= 2:
        gc.collect()
    torch.add(a, b, out=c)
"""

LEAVES_GARBAGE = """
def candidate(a, b, c):
    for _ in range(50):
        one = []
        one.append(one)
    torch.add(a, b, out=c)
"""


def said(batches: list[tuple[int, int]]) -> list[str]:
    """Statuses after batches of (slots known by then, collections)."""
    shield, worker = QuietInterpreter(), SimpleNamespace(arguments={}, collected=0)
    shield.worker_boot(worker)  # type: ignore[arg-type]
    found = []
    for slots, collected in batches:
        worker.arguments, worker.collected = dict.fromkeys(range(slots)), collected
        found.append(shield.worker_after_batch(worker).status)  # type: ignore[arg-type]
    return found


def test_two_batches_may_collect_and_a_third_may_not() -> None:
    assert said([(8, 0), (8, 3), (8, 0), (8, 3), (8, 0), (8, 1)]) == ["pass"] * 5 + ["fail"]


def test_batches_with_a_new_slot_do_not_count() -> None:
    assert said([(n, 5) for n in range(1, 9)]) == ["pass"] * 8


def test_the_next_case_of_a_kept_worker_begins_anew() -> None:
    assert said([(8, 0), *[(8, 1)] * 3])[-1] == "fail"
    assert said([(8, 0), *[(8, 1)] * 2]) == ["pass"] * 3


@pytest.mark.parametrize(
    ("code", "refused"),
    [(COLLECTS, True), (SWITCHES_ON, True), (COLLECTS_AT_FIRST, False), (LEAVES_GARBAGE, False)],
    ids=["collects", "switches it on", "collects at first", "leaves garbage"],
)
def test_a_worker_is_refused_for_what_it_collects_in_timed_batches(
    code: str, refused: bool, server: ForkServer, tmp_path: Path
) -> None:
    record: dict[str, Any] = tried(case(tmp_path, code), server, tmp_path)
    assert ("statistical.quiet_interpreter" in record["reasons"]) == refused, record["message"]
    assert any(e["protection"] == "statistical.quiet_interpreter" and e["arm"] == "baseline" for e in record["evidence"])
