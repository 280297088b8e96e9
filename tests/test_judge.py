"""The judge of a case, with real workers: content, order, snapshot, answers."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench import HONEST, case, lives, open_files, opened, tried

from aisp_runner.arm import CannotCapture
from aisp_runner.case import Measure, Tensor
from aisp_runner.device import open_device
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import ARMS, Judge, device_report
from aisp_runner.protect import registry
from aisp_runner.protect.registry import Shields
from aisp_runner.state import CpuReading, CpuState
from aisp_runner.verify import bits, poison_bits

pytest_plugins = ("shared_server",)

N, SLOTS = 16384, 32


@pytest.fixture
def judge(server: ForkServer, tmp_path: Path) -> Iterator[Judge]:
    with opened(server, tmp_path) as made:
        yield made


def unlike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one == other).double().mean() < 0.1)


def test_the_oracle_answers_in_float64_from_the_private_content(judge: Judge) -> None:
    judge.draw(dict.fromkeys(ARMS, 4))
    answer = judge.answers((2, 0))["c"]
    a, b = (judge.content.store[name].double() for name in "ab")
    assert answer.dtype == torch.float64 and torch.equal(answer, torch.stack([a[2] + b[2], a[0] + b[0]]))


def test_a_batch_computes_the_content_it_was_given_in_the_slots_it_was_given(judge: Judge) -> None:
    judge.draw(dict.fromkeys(ARMS, 8))
    batch = judge.run("candidate", 8, SLOTS, "wall")
    assert batch.calls == 8 == len(set(batch.order)) and max(batch.order) < SLOTS
    assert batch.issued_ns < batch.done_ns and batch.elapsed_ns == batch.done_ns - batch.issued_ns
    assert 0 < batch.reported_ns <= batch.elapsed_ns + 1e9
    views, store = judge.arms["candidate"].views, judge.content.store
    for call, slot in enumerate(batch.order):
        assert torch.equal(views["a"][slot], store["a"][call])
    unused = set(range(max(batch.order))) - set(batch.order)
    assert all(unlike(views["a"][slot], store["a"][call]) for slot in unused for call in range(8))


def test_both_arms_see_the_same_content_and_the_next_draw_is_another(judge: Judge) -> None:
    seen = []
    for _ in range(2):
        judge.draw(dict.fromkeys(ARMS, 4))
        batches = [judge.run(arm, 4, SLOTS, "wall") for arm in ARMS]
        assert batches[0].seed == batches[1].seed
        first = [judge.arms[b.arm].views["a"][b.order[0]].clone() for b in batches]
        assert torch.equal(*first)
        seen.append(first[0])
    assert unlike(*seen)


def test_orders_are_drawn_anew(judge: Judge) -> None:
    judge.draw(dict.fromkeys(ARMS, 16))
    orders = {judge.run("candidate", 16, SLOTS, "wall").order for _ in range(3)}
    assert len(orders) == 3 and all(order != tuple(sorted(order)) for order in orders)


def test_checked_calls_are_chosen_within_each_batch_and_at_least_two(judge: Judge) -> None:
    judge.check_seconds = 100.0
    chosen = set()
    for _ in range(20):
        judge.draw({"baseline": 4, "candidate": 16})
        assert all(len(judge.checked[arm]) == 2 for arm in ARMS)
        assert max(judge.checked["baseline"]) < 4 and max(judge.checked["candidate"]) < 16
        chosen |= set(judge.checked["candidate"])
    assert len(chosen) > 8, "secret, so not always the same"
    judge.check_seconds = 1e-6
    judge.draw(dict.fromkeys(ARMS, 8))
    assert judge.checked["baseline"] == judge.checked["candidate"] == tuple(range(8)), "all where there is time"


def test_the_snapshot_holds_the_outputs_without_the_tripwires(judge: Judge) -> None:
    judge.check_seconds = 1e-6
    judge.draw(dict.fromkeys(ARMS, 4))
    batch = judge.run("candidate", 4, SLOTS, "wall")
    kept, live = judge.snapshots["candidate"]["c"][:4], judge.arms["candidate"].views["c"]
    assert torch.equal(kept, judge.content.store["a"][:4] + judge.content.store["b"][:4])
    for slot in batch.order:
        assert (bits(live[slot]) == poison_bits(torch.float32)).sum() > 0, "the wires are still laid"
    assert judge.lost_tripwires(batch) == 0
    positions, _ = batch.tripwires["c"]
    live[batch.order[1]][positions[0]] = 1.0
    assert judge.lost_tripwires(batch) == 1


def test_tripwires_lie_elsewhere_in_every_batch(judge: Judge) -> None:
    judge.draw(dict.fromkeys(ARMS, 2))
    laid = [judge.run("candidate", 2, SLOTS, "wall").tripwires["c"][0] for _ in range(2)]
    assert not torch.equal(*laid)


def test_a_right_batch_verifies_and_a_wrong_one_does_not(server: ForkServer, tmp_path: Path) -> None:
    for name, code, wrong in (("good", HONEST, 0), ("bad", HONEST + "    c[3] += 1\n", 1)):
        with opened(server, tmp_path / name, code) as judge:
            judge.draw(dict.fromkeys(ARMS, 4))
            judge.verify([judge.run(arm, 4, SLOTS, "wall") for arm in ARMS])
            found = {c.arm: c for c in judge.comparisons}
            assert found["candidate"].wrong == wrong * found["candidate"].calls > -1
            assert found["baseline"].wrong == 0 and judge.refused() == bool(wrong)


def test_an_output_that_was_given_before_is_recognised(server: ForkServer, tmp_path: Path) -> None:
    code = """
    kept = {}
    def candidate(a, b, c):
        if "c" not in kept:
            kept["c"] = a + b
        c.copy_(kept["c"])
    """
    with opened(server, tmp_path, code) as judge:
        stale = []
        for _ in range(3):
            judge.draw(dict.fromkeys(ARMS, 4))
            batches = [judge.run(arm, 4, SLOTS, "wall") for arm in ARMS]
            judge.verify(batches)
            stale.append(len(set(batches[1].stale_calls)))
            assert batches[0].stale_calls == ()
    assert stale[1] > 0 and stale[2] > 0


def test_an_empty_batch_runs_no_call(judge: Judge) -> None:
    batch = judge.run("baseline", 0, 1, "wall")
    assert batch.calls == 0 and batch.elapsed_ns > 0 and batch.tripwires == {}
    assert judge.batches[-1] is batch and judge.issued[0, "warm_up", -1, "baseline", 0] == 1


def test_calls_that_cannot_be_captured_are_said_and_the_worker_goes_on(judge: Judge) -> None:
    judge.draw(dict.fromkeys(ARMS, 4))
    said = "candidate candidate: RuntimeError: a CPU has no graphs to capture calls into"
    with pytest.raises(CannotCapture, match=said):
        judge.run("candidate", 4, SLOTS, "graph")
    assert judge.batches == [] and not judge.issued, "its gate was never opened"
    batches = [judge.run(arm, 4, SLOTS, "wall") for arm in ARMS]
    assert judge.agrees(batches) and [b.mode for b in batches] == ["wall", "wall"]


def test_agreeing_leaves_no_evidence(server: ForkServer, tmp_path: Path) -> None:
    with opened(server, tmp_path, HONEST + "    c[3] += 1\n") as judge:
        judge.draw(dict.fromkeys(ARMS, 4))
        batches = [judge.run(arm, 4, SLOTS, "wall") for arm in ARMS]
        before = len(judge.shields.evidence)
        assert not judge.agrees(batches) and judge.agrees(batches[:1])
        assert len(judge.shields.evidence) == before and judge.comparisons == []


STAMPS = {"kernels": 4, "busy_ns": 10_000, "span_ns": 12_000, "call_ns": 2_500.5, "quarter_ns": 2_400}


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (STAMPS, STAMPS),
        (STAMPS | {"more": [1] * 1000}, STAMPS),
        (None, None),
        ("fast", None),
        ({"error": "the profiler saw no kernel"}, {"error": "the profiler saw no kernel"}),
        ({"error": "x" * 5000}, {"error": "x" * 200}),
        (STAMPS | {"busy_ns": 0}, {"error": "no time stamps"}),
        (STAMPS | {"busy_ns": -5}, {"error": "no time stamps"}),
        (STAMPS | {"call_ns": float("nan")}, {"error": "no time stamps"}),
        (STAMPS | {"call_ns": float("inf")}, {"error": "no time stamps"}),
        (STAMPS | {"quarter_ns": -1}, {"error": "no time stamps"}),
        ({key: value for key, value in STAMPS.items() if key != "quarter_ns"}, {"error": "no time stamps"}),
        (STAMPS | {"kernels": True}, {"error": "no time stamps"}),
        (STAMPS | {"span_ns": "12"}, {"error": "no time stamps"}),
    ],
)
def test_time_stamps_of_a_worker_are_taken_where_they_are_numbers(said: Any, taken: dict[str, Any] | None) -> None:
    assert device_report(said) == taken


class Readings(CpuState):
    """Tells 1, 2, 3, ... tasks that want a core."""

    def __init__(self) -> None:
        self.missing = {"thermal_throttles": "made up"}
        self.count = 0

    def read(self) -> CpuReading:
        self.count += 1
        return CpuReading(3000, self.count, 0.0, None, None)


def test_the_machines_state_is_summed_up_over_the_readings_that_were_kept(server: ForkServer, tmp_path: Path) -> None:
    with opened(server, tmp_path, state=Readings()) as judge:
        assert judge.state_summary() is None, "nothing was read"
        judge.note_state(keep=False)
        for _ in range(3):
            judge.note_state()
    summary = judge.state_summary()
    assert summary is not None and (summary["readings"], summary["missing"]) == (3, {"thermal_throttles": "made up"})
    assert summary["load"] == {"min": 2, "median": 3, "max": 4} and summary["others_busy"] is None


def test_without_a_state_none_is_told(judge: Judge) -> None:
    judge.note_state()
    assert judge.state_summary() is None


def test_outputs_and_hidden_inputs_are_poison_until_the_worker_is_ready(judge: Judge) -> None:
    judge.draw(dict.fromkeys(ARMS, 2))
    batch = judge.run("candidate", 2, SLOTS, "wall")
    judge.poison_outputs(batch)
    judge.hide_inputs(batch)
    views = judge.arms["candidate"].views
    for slot in batch.order:
        assert all(bool((bits(views[name][slot]) == poison_bits(torch.float32)).all()) for name in "abc")


def test_weights_are_the_same_for_both_arms_and_the_oracle(server: ForkServer, tmp_path: Path) -> None:
    inputs = (Tensor("a", (N,), "float32", "activation"), Tensor("b", (N,), "float32", "weight"))
    with opened(server, tmp_path, inputs=inputs) as judge:
        judge.draw(dict.fromkeys(ARMS, 4))
        judge.verify([judge.run(arm, 4, SLOTS, "wall") for arm in ARMS])
        held = [judge.arms[arm].views["b"] for arm in ARMS] + [judge.oracle.views["b"]]
        assert all(torch.equal(view, judge.content.store["b"]) for view in held)
        assert not judge.refused()


def test_a_ring_has_at_least_two_slots_and_no_more_than_the_calls_need(server: ForkServer, tmp_path: Path) -> None:
    def slots(**changes: Any) -> int:
        given = case(tmp_path, **changes)
        with Judge(given, open_device("cpu"), server, Shields({}), tmp_path / "staging") as made:
            return made.slots

    assert slots(n=4, measure=Measure()) == 512
    assert slots(n=4, measure=Measure(calls=(1, 7))) == 7
    assert slots(n=1 << 20, measure=Measure()) == (256 << 20) // (12 << 20)
    assert slots(n=1 << 26, measure=Measure()) == 2


def test_leaving_the_judge_ends_every_process(server: ForkServer, tmp_path: Path) -> None:
    def one(folder: Path) -> list[int]:
        with opened(server, folder) as judge:
            pids = [judge.oracle.pid, *(arm.pid for arm in judge.arms.values())]
            assert len(set(pids)) == 3 and all(lives(pid) for pid in pids)
        return pids

    one(tmp_path / "first")
    before = open_files()
    assert not any(lives(pid) for pid in one(tmp_path / "second"))
    assert open_files() <= before


@pytest.mark.parametrize(
    "file", ["baseline/src/kernel.py", "baseline/src/__pycache__/helper.pyc", "baseline/build/x.so", "oracle/src/kernel.py"]
)
def test_a_candidate_that_touches_another_workers_files_is_refused(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))  # this case's folders, and no other's, lie there
    code = f"""
    def candidate(a, b, c):
        import pathlib
        (crew,) = pathlib.Path("{temporary}").glob("aisp-crew-*")
        target = crew / "{file}"
        target.parent.mkdir(exist_ok=True)
        with open(target, "a") as opened:
            opened.write("# mine now\\n")
        torch.add(a, b, out=c)
    """
    unconfined = registry.select({"disable": ["evaluation.sandbox"]})
    made = tried(case(tmp_path, code, protections=unconfined), server, tmp_path)
    who, name = file.split("/", 1)
    assert made["status"] == "INVALID" and made["reasons"][0] == "evaluation.sealed_judge", made["message"]
    assert f"{who}'s copy of {name} changed" in made["message"]
    assert os.listdir(temporary) == [], "nothing of the case is left"


WATCHER = """
import threading
early = {}

def watch(a, b):
    before = float(a[-1])
    while float(a[-1]) == before or a[-1] != a[-1]:
        pass
    early[a.data_ptr()] = (a.clone(), time.perf_counter_ns())

def candidate(a, b, c):
    key = a.data_ptr()
    kept = early.pop(key, None)
    if kept is not None and bool((kept[0] == a).all()) and time.perf_counter_ns() - kept[1] > 10_000_000:
        raise RuntimeError("saw the content 10 ms before the call")
    torch.add(a, b, out=c)
    threading.Thread(target=watch, args=(a, b), daemon=True).start()
"""


def test_a_thread_that_watches_its_inputs_sees_nothing_before_the_gate(server: ForkServer, tmp_path: Path) -> None:
    with opened(server, tmp_path, WATCHER, n=1 << 18) as judge:
        reveal = judge._reveal

        def slow(arm: Any, batch: Any) -> None:
            reveal(arm, batch)
            time.sleep(0.03)  # a head start of 30 ms, if the worker ran meanwhile

        judge._reveal = slow  # type: ignore[method-assign]
        for _ in range(6):
            judge.draw({"baseline": 1, "candidate": 1})
            judge.run("candidate", 1, 1, "wall")
