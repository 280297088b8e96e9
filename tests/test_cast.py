"""The processes of a case: who they are, which of them run, and who is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bench import HONEST, case, lives, opened

from aisp_runner.case import Measure
from aisp_runner.cast import Cast
from aisp_runner.crew import Crew
from aisp_runner.errors import WorkerFault
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import ARMS, Judge
from aisp_runner.system import spare_cores

pytest_plugins = ("shared_server",)

TWO_SETS = Measure(processes=2, control=True, calls=(1, 2))
ROLES = ("baseline", "candidate", "control")


@pytest.fixture(scope="module")
def judge(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Two sets with a control."""
    with opened(server, tmp_path_factory.mktemp("case"), n=64, measure=TWO_SETS) as made:
        yield made


def state(pid: int) -> str:
    """R, S or T (frozen)."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_each_set_has_processes_of_its_own_for_every_role(judge: Judge) -> None:
    cast = judge.cast
    assert cast.roles == ROLES and [set(arms) for arms in cast.sets] == [set(ROLES)] * 2
    pids = [arm.pid for arm in cast.all()]
    assert len(set(pids)) == 6 and judge.oracle.pid not in pids and all(lives(pid) for pid in pids)
    assert cast.pids() == {os.getpid(), judge.oracle.pid, *pids}


def test_the_control_runs_the_baselines_variant_and_files(judge: Judge) -> None:
    for arms in judge.cast.sets:
        assert {role: arm.variant.name for role, arm in arms.items()} == {
            "baseline": "baseline",
            "candidate": "candidate",
            "control": "baseline",
        }
    staged = judge.cast.staged
    assert set(staged) == {"oracle", *ROLES} and staged["control"] is staged["baseline"]
    assert len({staged[role].folder for role in ("oracle", *ARMS)}) == 3


def test_the_judge_works_with_the_set_whose_turn_it_is(judge: Judge) -> None:
    for judge.process in (1, 0):
        judge.draw(dict.fromkeys(ARMS, 2))
        batches = [judge.run(role, 2, 2, "wall") for role in ROLES]
        assert {b.process for b in batches} == {judge.process} and judge.arms is judge.cast.sets[judge.process]
        for b in batches:
            mine, other = (judge.cast.sets[n][b.arm].views["a"] for n in (judge.process, 1 - judge.process))
            given = judge.content.store["a"][:2]
            assert torch.equal(mine[list(b.order)], given), "the content is there"
            assert not bool((other[list(b.order)] == given).any()), "and not with the other set"


def test_one_runs_at_a_time_and_the_others_are_frozen(judge: Judge) -> None:
    cast, seen = judge.cast, []
    for arm in cast.all():
        cast.wake([arm])
        seen.append({a.pid: state(a.pid) for a in cast.all()})
        assert seen[-1].pop(arm.pid) != "T" and set(seen[-1].values()) == {"T"}
    cast.wake(cast.all())
    assert "T" not in {state(arm.pid) for arm in cast.all()}
    assert state(judge.oracle.pid) != "T"


def test_workers_on_a_cpu_are_pinned_to_cores_that_the_judge_leaves_them(judge: Judge) -> None:
    wanted = spare_cores(judge.case.threads)[1]
    assert {frozenset(os.sched_getaffinity(arm.pid)) for arm in judge.cast.all()} == {frozenset(wanted)}


@pytest.mark.parametrize("sound", [True, False])
def test_a_crew_that_was_lent_outlives_a_sound_case_alone(server: ForkServer, tmp_path: Path, sound: bool) -> None:
    with Crew() as crew:
        judge = opened(server, tmp_path, n=64, crew=crew, measure=TWO_SETS)
        trusted = [judge.oracle, *(arm for arm in judge.cast.all() if arm.role != "candidate")]
        candidates = [arms["candidate"] for arms in judge.cast.sets]
        judge.cast.stop(sound)
        assert not any(lives(arm.pid) for arm in candidates)
        assert [lives(arm.pid) for arm in trusted] == [sound] * 5
    assert not any(lives(arm.pid) for arm in trusted)


def test_without_a_crew_all_end_with_the_case(server: ForkServer, tmp_path: Path) -> None:
    judge = opened(server, tmp_path, n=64, measure=TWO_SETS)
    pids = judge.cast.pids() - {os.getpid()}
    folder = judge.staged["oracle"].folder
    judge.cast.stop(sound=True)
    assert len(pids) == 7 and not any(lives(pid) for pid in pids) and not folder.exists()


def test_a_cast_of_which_nobody_was_started_stops(server: ForkServer, tmp_path: Path) -> None:
    given = case(tmp_path, measure=TWO_SETS)
    cast = Cast(given, device=None, server=server, folder=tmp_path, slots=2)  # type: ignore[arg-type]
    assert cast.all() == [] and cast.staged == {} and cast.pids() == {os.getpid()}
    cast.stop(sound=True)


@pytest.mark.parametrize("role", ARMS)
def test_one_that_does_not_load_takes_all_others_with_it(server: ForkServer, tmp_path: Path, role: str) -> None:
    code = f"if os.getcwd().endswith('{role}'):\n    raise ImportError('no')\n" + HONEST
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    before = children.read_text()
    with Crew() as crew, pytest.raises(WorkerFault, match="ImportError: no"):
        opened(server, tmp_path, code, crew=crew, measure=TWO_SETS)
    assert children.read_text() == before
