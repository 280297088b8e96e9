"""Trusted processes that go on from case to case, and what they must not carry over."""

from __future__ import annotations

import dataclasses
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench import HONEST, accepted, bench_of, case, lives, open_files, opened, tried_on

from aisp_runner.case import Case, Measure, Plan
from aisp_runner.crew import Crew
from aisp_runner.errors import WorkerFault
from aisp_runner.execute import Bench, run_case
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import ARMS, Judge

pytest_plugins = ("shared_server",)

MEASURE = Measure(processes=1, control=True, calls=(1, 4), verify_seconds=0.002)


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew() as made:
        yield made


@pytest.fixture
def started(server: ForkServer, tmp_path: Path, crew: Crew) -> Any:
    """Starts the judge of the next case with this crew; all cases have the same kernel file."""

    def start(n: int = 64, code: str = HONEST, **changes: Any) -> Judge:
        return opened(server, tmp_path, code, crew=crew, n=n, **({"measure": MEASURE} | changes))

    return start


def pids(judge: Judge) -> dict[str, int]:
    """By role."""
    return {"oracle": judge.oracle.pid, **{role: arm.pid for role, arm in judge.arms.items()}}


def trusted(judge: Judge) -> dict[str, int]:
    return {role: pid for role, pid in pids(judge).items() if role != "candidate"}


def rings(pid: int | str = "self") -> int:
    """Rings of slots that a process maps."""
    text = Path(f"/proc/{pid}/maps").read_text()
    return len({line.split()[4] for line in text.splitlines() if "memfd:aisp-ring" in line})


def computed(judge: Judge) -> None:
    """Two calls of each role, held against the oracle."""
    judge.draw(dict.fromkeys(ARMS, 2))
    judge.verify([judge.run(arm, 2, 4, "wall") for arm in judge.cast.roles if arm in ARMS])
    judge.run("control", 2, 4, "wall")
    assert not judge.refused(), judge.shields.evidence


# Who is kept


def test_a_crew_is_kept_for_the_next_case_of_its_workload_and_the_candidate_is_not(started: Any) -> None:
    seen: list[dict[str, int]] = []
    for n in (64, 4096, 32):
        with started(n) as judge:
            computed(judge)
            seen.append(pids(judge))
    assert {role: len({each[role] for each in seen}) for role in seen[0]} == {
        "oracle": 1,
        "baseline": 1,
        "control": 1,
        "candidate": 3,
    }
    assert all(lives(pid) for pid in trusted(judge).values()) and not lives(seen[-1]["candidate"])


WORKLOADS: dict[str, Any] = {
    "another baseline": lambda given: {"baseline": dataclasses.replace(given.baseline, returns=True)},
    "another reference": lambda given: {"reference": dataclasses.replace(given.reference, function="baseline")},
    "other threads": lambda given: {"threads": 2},
    "other limits": lambda given: {"limits": dataclasses.replace(given.limits, memory_gib=3.0)},
    "other protections": lambda given: {"protections": {}},
    "more sets": lambda given: {"measure": dataclasses.replace(MEASURE, processes=2)},
    "no control": lambda given: {"measure": dataclasses.replace(MEASURE, control=False)},
    "other names": lambda given: {"outputs": (dataclasses.replace(given.outputs[0], name="d"),)},
}


@pytest.mark.parametrize("changes", WORKLOADS.values(), ids=WORKLOADS)
def test_a_crew_is_of_no_use_to_a_case_with(server: ForkServer, started: Any, crew: Crew, changes: Any) -> None:
    with started() as judge:
        before = trusted(judge)
    folder = judge.staged["baseline"].folder
    given = judge.case
    crew.prepare(given, server)
    assert all(lives(pid) for pid in before.values()), "it is of use to the same"
    crew.prepare(dataclasses.replace(given, **changes(given)), server)
    assert not any(lives(pid) for pid in before.values()) and crew.arms == {} and not folder.exists()


@pytest.mark.parametrize(
    "changes",
    [{"axes": {"n": 7}, "held_out": True}, {"candidate": "theirs.py::fast"}, {"phase": "gate"}, {"work_bytes": 12.0}],
    ids=lambda changes: ",".join(changes),
)
def test_a_crew_is_of_use_whatever_else_differs(server: ForkServer, started: Any, crew: Crew, changes: Any) -> None:
    with started() as judge:
        before = trusted(judge)
    crew.prepare(dataclasses.replace(judge.case, **changes), server)
    assert all(lives(pid) for pid in before.values()) and len(crew.arms) == 3


def test_a_changed_source_is_another_workload(started: Any) -> None:
    with started() as judge:
        before = trusted(judge)
    with started(code=HONEST + "# more\n") as judge:
        assert not set(before.values()) & set(trusted(judge).values())


def test_a_crew_is_not_kept_when_a_case_was_refused(started: Any) -> None:
    wrong = HONEST + "    c[3] += 1\n"
    with started(code=wrong) as judge:
        before = trusted(judge)
        judge.draw(dict.fromkeys(ARMS, 2))
        judge.verify([judge.run(arm, 2, 4, "wall") for arm in ARMS])
        assert judge.refused()
    assert not any(lives(pid) for pid in before.values())
    with started(code=wrong) as judge:
        assert not set(before.values()) & set(trusted(judge).values())


def test_a_crew_is_not_kept_when_a_case_ended_with_a_fault(started: Any) -> None:
    with (
        pytest.raises(WorkerFault, match="raised ValueError"),
        started(code="def candidate(a, b, c): raise ValueError") as judge,
    ):
        before = trusted(judge)
        judge.draw(dict.fromkeys(ARMS, 1))
        judge.run("candidate", 1, 1, "wall")
    assert not any(lives(pid) for pid in before.values())


@pytest.mark.parametrize("role", ["oracle", "baseline", "control"])
def test_a_crew_of_which_one_died_is_replaced(started: Any, crew: Crew, role: str) -> None:
    with started() as judge:
        before = trusted(judge)
    os.kill(before[role], 9)
    until = time.monotonic() + 5
    while lives(before[role]) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)  # the fork server tells of it
    with started() as judge:
        assert not set(before.values()) & set(trusted(judge).values())
        computed(judge)
    assert not any(lives(pid) for pid in before.values())


def test_a_crew_of_another_fork_server_is_replaced(started: Any, crew: Crew) -> None:
    with started() as judge:
        before = trusted(judge)
    with ForkServer(cuda=False) as other:
        crew.prepare(judge.case, other)
    assert not any(lives(pid) for pid in before.values()) and crew.arms == {}


# What is not carried over


@pytest.mark.parametrize("role", ["oracle", "baseline", "control"])
def test_a_worker_lets_go_of_the_memory_of_the_case_before(started: Any, role: str) -> None:
    for n in (64, 4096, 64):
        with started(n) as judge:
            computed(judge)
            assert rings(trusted(judge)[role]) == 1


def test_the_judge_lets_go_of_the_memory_of_the_case_before(started: Any) -> None:
    gc.collect()
    others, counts = rings(), []  # of tests before this one, in the same process
    for n in (64, 4096, 64):
        with started(n) as judge:
            computed(judge)
            assert {arm.layout.nbytes for arm in judge.cast.all()} == {judge.slots * 3 * max(256, 4 * n)}
        del judge
        gc.collect()
        counts.append(rings() - others)
    assert counts == [3, 3, 3], "one each of the oracle, the baseline and the control, who are still there"


def test_cases_leave_no_descriptor_behind(started: Any) -> None:
    def one(n: int) -> int:
        with started(n) as judge:
            computed(judge)
        return open_files()

    one(64)
    assert one(128) >= one(64)
    assert one(4096) == one(32)


def test_content_of_one_case_is_not_readable_in_the_next(started: Any) -> None:
    with started() as judge:
        computed(judge)
        secret = judge.content.store["a"][:2].clone()
        assert any(bool((view == secret[0]).all()) for view in judge.arms["baseline"].views["a"]), "it is readable now"
    with started() as judge:
        for role in ("baseline", "control"):
            views = judge.arms[role].views
            assert all(not bool(views[name].any()) for name in ("a", "b", "c")), "a new ring is empty"
        assert not bool((judge.oracle.views["a"][:2] == secret.double()).any())
        judge.draw(dict.fromkeys(ARMS, 2))
        batch = judge.run("baseline", 2, 4, "wall")
        assert not bool((judge.arms["baseline"].views["a"][list(batch.order)] == secret).any())
        assert torch.equal(judge.arms["baseline"].views["a"][list(batch.order)], judge.content.store["a"][:2])


# On the whole line


def records(server: ForkServer, folder: Path, *given: Case) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
    """The records of these cases on one bench, and the pids of its crew after each."""
    bench: Bench = bench_of(Plan(given), folder, server)
    made, kept = [], []
    for each in given[:-1]:
        made.append(run_case(each, bench))
        kept.append({role: arm.pid for (role, _), arm in bench.pool.crew("cpu").arms.items()})
    made.append(tried_on(bench, given[-1]))
    return made, kept


def test_cases_of_a_run_share_a_crew_until_one_is_refused(server: ForkServer, tmp_path: Path) -> None:
    good, small = case(tmp_path / "good"), case(tmp_path / "good", n=8192)
    bad = dataclasses.replace(good, optimized=case(tmp_path / "bad", HONEST + "    c[5] = 0\n").optimized)
    made, kept = records(server, tmp_path, good, small, bad, good)
    assert [r["status"] for r in made[2:3]] == ["INVALID"]
    assert all(accepted(r) for r in (made[0], made[1], made[3])), [r["message"] for r in made]
    for record, crew in zip(made[:2], kept[:2], strict=True):  # a busy machine may have refused one of them for its clock
        assert set(crew) == ({"oracle", "baseline"} if record["status"] != "INVALID" else set())
    if made[0]["status"] == made[1]["status"] == "VALID":
        assert kept[0] == kept[1]
    assert kept[2] == {}, "refused: nobody is kept"
