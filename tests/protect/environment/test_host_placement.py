"""Placement: who has more than the judge gave is refused; who has less, or the same, is not."""

from __future__ import annotations

from typing import Any

import pytest

from aisp_runner import host
from aisp_runner.host import Pages, Placement
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.environment.host_placement import HostPlacement, beyond
from protect.batches import batch
from protect.environment.hosts import BASELINE, CANDIDATE, judge_of

GIVEN = Placement(0, "SCHED_OTHER", frozenset({2, 3}))


@pytest.mark.parametrize(
    ("placement", "more"),
    [
        pytest.param(GIVEN, [], id="as given"),
        pytest.param(Placement(5, "SCHED_OTHER", frozenset({2})), [], id="less urgent, on fewer cores"),
        pytest.param(Placement(0, "SCHED_BATCH", frozenset({2, 3})), [], id="a lazier policy"),
        pytest.param(Placement(-1, "SCHED_OTHER", frozenset({2, 3})), ["nice -1"], id="more urgent"),
        pytest.param(Placement(0, "SCHED_FIFO", frozenset({2, 3})), ["SCHED_FIFO"], id="real time"),
        pytest.param(Placement(0, "SCHED_OTHER", frozenset({1, 2, 3})), ["cores 1,2,3"], id="wider"),
        pytest.param(Placement(0, "SCHED_OTHER", frozenset({7})), ["cores 7"], id="elsewhere"),
    ],
)
def test_only_what_was_not_given_is_more(placement: Placement, more: list[str]) -> None:
    assert beyond(placement, GIVEN) == more


def looked(
    monkeypatch: pytest.MonkeyPatch, placed: dict[int, Placement], paged: dict[int, Pages] | None = None
) -> list[Evidence]:
    monkeypatch.setattr(host, "placements", lambda pid: [GIVEN, placed.get(pid, GIVEN)])
    monkeypatch.setattr(host, "given_placement", lambda judge: GIVEN)
    monkeypatch.setattr(host, "pages", (paged or {}).get)
    return HostPlacement().judge_conclude(judge_of())


def failures(found: list[Evidence]) -> list[tuple[str, str]]:
    return [(e.arm, e.observed) for e in found if e.status == "fail"]


def test_a_second_thread_that_is_more_urgent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(monkeypatch, {CANDIDATE: Placement(-5, "SCHED_OTHER", frozenset({2}))})
    assert failures(found) == [("candidate", "a thread of the candidate has nice -5")]


def test_a_baseline_that_was_set_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(monkeypatch, {BASELINE: Placement(19, "SCHED_OTHER", frozenset({2}))})
    assert failures(found) == [("", "a thread of the baseline has nice 19, SCHED_OTHER")]


def test_arms_as_they_were_placed_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {e.status for e in looked(monkeypatch, {})} == {"pass"}


@pytest.mark.parametrize(
    ("baseline", "candidate", "statuses"),
    [
        pytest.param({"default"}, {"default"}, {"pass"}, id="one policy"),
        pytest.param({"default", "bind:0"}, {"default"}, {"pass"}, id="the baseline's driver has one of its own"),
        pytest.param({"default"}, {"default", "bind:1"}, {"pass", "fail"}, id="the candidate binds memory"),
    ],
)
def test_a_memory_policy_that_the_baseline_has_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, baseline: set[str], candidate: set[str], statuses: set[str]
) -> None:
    paged = {BASELINE: Pages(frozenset(baseline), {0: 9}), CANDIDATE: Pages(frozenset(candidate), {0: 8, 1: 1})}
    assert {e.status for e in looked(monkeypatch, {}, paged)} == statuses


def test_memory_on_another_node_is_no_ones_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    paged = {pid: Pages(frozenset({"default"}), {node: 100}) for node, pid in enumerate((BASELINE, CANDIDATE))}
    found = [e for e in looked(monkeypatch, {}, paged) if e.status != "pass"]
    assert [e.status for e in found] == ["unavailable"] and "differ by 100%" in found[0].observed


@pytest.mark.parametrize(
    ("changes", "looks"), [({}, True), ({"arm": "baseline"}, False), ({"purpose": "warm_up"}, False)], ids=str
)
def test_the_candidate_is_looked_at_after_its_timed_batches(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], looks: bool
) -> None:
    monkeypatch.setattr(host, "placements", lambda pid: [GIVEN])
    monkeypatch.setattr(host, "given_placement", lambda judge: GIVEN)
    assert (HostPlacement().judge_after_batch(judge_of(), batch(**changes)) is not None) is looks
