"""Every batch that was issued is in the sample, on made-up batches."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aisp_runner.judge import Batch
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.statistical.whole_sample import WholeSample, rounds_of
from aisp_runner.statistics import Calls, Round, stamped_rounds
from protect.batches import batch

ROLES = ("baseline", "candidate", "control")
SETS, ROUNDS = 2, 3
BATCHES = ROUNDS * (2 + SETS * (1 + 2 * len(ROLES)))
"""48: an empty batch and two long ones of each role in every round of every set, and two short ones in the first set."""


def a_round(process: int, number: int, purpose: str = "round") -> list[Batch]:
    kinds = [("baseline", 0), *((role, 20) for role in (*ROLES, *ROLES[::-1]))]
    kinds += [("baseline", 4), ("candidate", 4)] if process == 0 else []
    first = 1 + 100 * (2 * number + process)
    return [
        batch(arm, calls, number=number, process=process, purpose=purpose, us=10.0 * calls + number, sequence=first + i)
        for i, (arm, calls) in enumerate(kinds)
    ]


def of(batches: list[Batch], rounds: int = ROUNDS) -> Any:
    """A judge that issued just these batches; those left out for their clock were issued as any other."""
    issued = Counter((b.process, "round" if b.purpose == "dropped" else b.purpose, b.round, b.arm, b.calls) for b in batches)
    case = SimpleNamespace(measure=SimpleNamespace(min_rounds=rounds, processes=SETS))
    judge = SimpleNamespace(batches=batches, issued=issued, case=case, cast=SimpleNamespace(roles=ROLES))
    judge.clocked = {b.sequence: (b.purpose, b.round, b.arm, b.issued_ns, b.done_ns) for b in batches}
    judge.time_ns = lambda b: b.elapsed_ns
    judge.measured = SimpleNamespace(schedule=SimpleNamespace(calls=Calls((4, 20), (4, 20))), rounds=[], stamped=[])
    judge.measured.rounds = rounds_of(judge, [b for b in batches if b.timed])
    return judge


@pytest.fixture
def judge() -> Any:
    """Three whole rounds of two sets, and batches of other purposes, all of them issued."""
    whole = [b for number in range(ROUNDS) for process in range(SETS) for b in a_round(process, number)]
    return of([*whole, batch(calls=1, number=-1, purpose="warm_up"), batch(calls=1, purpose="serial")])


def concluded(judge: Any) -> Evidence:
    """What counting the batches says."""
    return WholeSample().counted(judge)


def held(judge: Any) -> Evidence:
    """What comparing the batches' times and the rounds says."""
    return WholeSample().as_clocked(judge)


def test_a_whole_sample_passes(judge: Any) -> None:
    found = concluded(judge)
    assert found.status == "pass"
    assert found.observed == (
        f"{BATCHES} samples of {BATCHES} batches issued, 0 missing, 0 unexplained, 0 dropped, "
        "6 rounds in 2 sets of processes, 0 incomplete"
    )
    assert found.limit == "all, once, in 3 rounds or more of 2 sets"


@pytest.mark.parametrize("index", [0, 1, 2, 3, 7, 9], ids=["empty", "baseline", "candidate", "control", "short", "second set"])
def test_a_batch_that_was_left_out_is_missed(judge: Any, index: int) -> None:
    del judge.batches[index]
    found = concluded(judge)
    assert found.status == "fail" and "1 missing" in found.observed and "1 incomplete" in found.observed


def test_a_batch_that_was_never_issued_is_refused(judge: Any) -> None:
    judge.batches.append(judge.batches[3])
    found = concluded(judge)
    assert found.status == "fail" and "1 unexplained" in found.observed


def test_a_round_that_was_left_out_whole_is_missed(judge: Any) -> None:
    judge.batches = [b for b in judge.batches if (b.process, b.round) != (1, 2)]
    assert "7 missing" in concluded(judge).observed and concluded(judge).status == "fail"


def test_a_set_that_was_left_out_whole_is_missed(judge: Any) -> None:
    judge.batches = [b for b in judge.batches if b.process == 0]
    assert "21 missing" in concluded(judge).observed and concluded(judge).status == "fail"


def test_too_few_rounds_are_refused(judge: Any) -> None:
    judge.case.measure.min_rounds = 4
    assert concluded(judge).status == "fail"


def test_too_few_rounds_of_one_set_are_refused() -> None:
    rounds = [b for number in range(ROUNDS) for b in a_round(0, number)] + a_round(1, 0)
    found = concluded(of(rounds))
    assert found.status == "fail" and "0 missing, 0 unexplained" in found.observed and "0 incomplete" in found.observed


def test_too_few_sets_are_refused() -> None:
    assert concluded(of([b for number in range(ROUNDS) for b in a_round(0, number)])).status == "fail"


def test_a_round_dropped_for_its_clock_is_counted_and_not_missed(judge: Any) -> None:
    made = of([*a_round(0, 1, "dropped"), *a_round(1, 1, "dropped"), *judge.batches])
    found = concluded(made)
    assert found.status == "pass", found.observed
    assert f"{BATCHES} samples of {BATCHES + 16} batches issued, 0 missing, 0 unexplained, 16 dropped" in found.observed


def test_a_dropped_round_does_not_stand_for_one_that_was_not_repeated() -> None:
    """Three rounds were wanted of each set; one of them was dropped and is not there again."""
    kept = [b for number in range(ROUNDS) for process in range(SETS) for b in a_round(process, number) if number or process]
    found = concluded(of([*a_round(0, 0, "dropped"), *kept]))
    assert found.status == "fail" and "0 missing" in found.observed


def test_rounds_of_the_batches_as_they_were_clocked_pass(judge: Any) -> None:
    found = held(judge)
    assert found.status == "pass"
    assert found.observed == f"0 of {BATCHES} batches are not as clocked, 0 of 6 rounds are not theirs"
    first = judge.measured.rounds[0]
    assert first == Round(0, 0.0, {"baseline": 4e4, "candidate": 4e4}, dict.fromkeys(ROLES, (2e5, 2e5)))


@pytest.mark.parametrize(
    "change",
    [
        lambda b: dataclasses.replace(b, done_ns=b.done_ns + 1),
        lambda b: dataclasses.replace(b, issued_ns=b.issued_ns - 1),
        lambda b: dataclasses.replace(b, arm="control"),
        lambda b: dataclasses.replace(b, round=b.round + 1),
        lambda b: dataclasses.replace(b, sequence=99_999),
    ],
    ids=["a later end", "an earlier start", "another arm", "another round", "a number that was not given out"],
)
def test_a_batch_that_was_altered_after_the_fact_is_refused(judge: Any, change: Callable[[Batch], Batch]) -> None:
    judge.batches[1] = change(judge.batches[1])
    assert held(judge).status == "fail" and f"1 of {BATCHES} batches are not as clocked" in held(judge).observed


def test_a_warm_up_batch_in_the_place_of_a_timed_one_is_refused_though_the_count_is_right(judge: Any) -> None:
    warm = dataclasses.replace(batch("baseline", 20, number=-1, purpose="warm_up", us=900.0), sequence=7_000)
    judge.clocked[7_000] = ("warm_up", -1, "baseline", warm.issued_ns, warm.done_ns)
    judge.batches[1] = dataclasses.replace(warm, purpose="round", round=0)
    judge.measured.rounds = rounds_of(judge, [b for b in judge.batches if b.timed])
    assert concluded(judge).status == "pass"
    assert held(judge).status == "fail" and "0 of 6 rounds" in held(judge).observed


def test_a_round_that_no_batches_are_behind_is_refused(judge: Any) -> None:
    invented = dataclasses.replace(judge.measured.rounds[0], long_ns=dict.fromkeys(ROLES, (9e5, 9e5)))
    judge.measured.rounds.append(invented)
    assert concluded(judge).status == "pass"
    assert held(judge).status == "fail" and "1 of 7 rounds are not theirs" in held(judge).observed


def test_a_value_of_a_round_that_was_changed_is_refused(judge: Any) -> None:
    last = judge.measured.rounds[-1]
    judge.measured.rounds[-1] = dataclasses.replace(last, empty_ns=last.empty_ns + 1)
    assert held(judge).status == "fail" and "1 of 6 rounds" in held(judge).observed


def test_batches_that_were_dropped_need_not_be_as_they_were_clocked() -> None:
    """A case that falls back to another clock calls all of its rounds dropped."""
    whole = [b for number in range(ROUNDS) for process in range(SETS) for b in a_round(process, number)]
    dropped = [dataclasses.replace(b, sequence=5_000 + i) for i, b in enumerate(a_round(0, 1))]
    judge = of([*whole, *dropped])
    for b in dropped:
        b.purpose = "dropped"
    judge.issued = Counter((b.process, "round", b.round, b.arm, b.calls) for b in judge.batches)
    judge.measured.rounds = rounds_of(judge, whole)
    assert WholeSample().judge_conclude(judge).status == "pass"


def test_both_are_told_in_one_piece_of_evidence_that_fails_where_either_does(judge: Any) -> None:
    both = WholeSample().judge_conclude(judge)
    assert both.status == "pass" and both.observed == f"{concluded(judge).observed}; {held(judge).observed}"
    judge.batches[1] = dataclasses.replace(judge.batches[1], done_ns=judge.batches[1].done_ns + 1)
    assert WholeSample().judge_conclude(judge).status == "fail"
    judge.batches.pop(1)
    assert WholeSample().judge_conclude(judge).status == "fail"


def with_stamps(judge: Any, rounds: int = ROUNDS) -> list[Batch]:
    """Adds rounds of time stamps in both sets, which decide."""
    added = []
    for number in range(rounds):
        for process in range(SETS):
            for arm in (*ROLES, *ROLES[::-1]):
                device = {"quarter_ns": 1e4 + number}
                added.append(batch(arm, 8, number=number, process=process, purpose="device", device=device))
    judge.batches += added
    judge.issued.update((b.process, b.purpose, b.round, b.arm, b.calls) for b in added)
    told = ((b.process, b.round, b.arm, (b.device or {})["quarter_ns"]) for b in added)
    judge.measured.stamped = stamped_rounds(told)
    return added


def test_rounds_of_time_stamps_that_decide_are_all_there(judge: Any) -> None:
    assert WholeSample().as_stamped(judge) is None
    with_stamps(judge)
    found = held(judge)
    assert found.status == "pass"
    assert found.observed.endswith("; 0 of 36 batches with time stamps are left out, 0 of 6 rounds are not theirs")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda judge, added: judge.batches.remove(added[4]), "0 of 36 batches with time stamps are left out, 6 of 5 rounds"),
        (lambda judge, added: judge.measured.stamped.pop(), "6 of 36 batches with time stamps are left out, 1 of 6 rounds"),
        (lambda judge, added: added[0].device.update(quarter_ns=9e9), "1 of 6 rounds are not theirs"),
    ],
    ids=["a batch left out", "a round left out", "a time altered"],
)
def test_rounds_of_time_stamps_are_what_the_batches_told(judge: Any, change: Callable[..., Any], said: str) -> None:
    change(judge, with_stamps(judge))
    found = held(judge)
    assert found.status == "fail" and said in found.observed


def test_too_few_rounds_of_time_stamps_are_no_whole_sample(judge: Any) -> None:
    with_stamps(judge, ROUNDS - 1)
    assert held(judge).status == "fail"
