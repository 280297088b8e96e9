"""What an engine's driver makes of what comes back, with a stand-in for the scheduler: the shards are really run, here."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sweeps import lines, ran, resumed, rewritten, shrunk, sizes_of, small_plan

from aisp_runner import record
from aisp_runner.case import Plan
from aisp_runner.engine.choice import Engine
from aisp_runner.engine.sweep import run_away
from aisp_runner.engine.task import Ended, Task, shard_file
from aisp_runner.execute import Ways
from aisp_runner.forkserver import ForkServer
from aisp_runner.plan_file import load_plan, load_replaced, load_shard
from aisp_runner.report import Console
from aisp_runner.verify_record import verify

pytest_plugins = ("shared_server",)
SIZES = (2048, 4096, 8192, 16384)
ENGINE = Engine("ray")

Fate = Callable[[Task, Path], Ended]
"""What becomes of a task whose shard was run: (task, its file of records) -> how it ended."""


def well(task: Task, file: Path) -> Ended:
    return Ended(task, file)


def node_died(task: Task, file: Path) -> Ended:
    return Ended(task, None, "lost", "node n7 was lost")


class Scheduler:
    """Runs each task's shard.json here, the last task first, and lets a fate befall what comes of it."""

    def __init__(self, folder: Path, server: ForkServer, fates: dict[int, Fate]) -> None:
        self.folder, self.server, self.fates = folder, server, fates
        self.waiting: list[Task] = []
        self.started: list[Task] = []
        self.cancelled = self.closed = False

    def start(self, tasks: Sequence[Task], plan: bytes) -> None:
        self.plan, self.waiting, self.started = plan, list(tasks), list(tasks)

    def ended(self) -> list[Ended]:
        task = self.waiting.pop()
        fate = self.fates.get(task.number, well)
        if fate is node_died:
            return [node_died(task, Path())]
        folder = self.folder / str(task.number)
        folder.mkdir(parents=True)
        (folder / "shard.json").write_bytes(shard_file(task.head, self.plan))
        ways = Ways(shard=load_shard(folder / "shard.json"), replaces=load_replaced(folder / "shard.json"))
        ran(load_plan(folder / "shard.json"), folder / "run", self.server, ways)
        return [fate(task, folder / "run" / record.FILE)]

    def cancel(self) -> None:
        self.cancelled = True

    def merged(self, task: Task) -> None:
        assert task in self.started

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def away(server: ForkServer, tmp_path: Path) -> Callable[..., tuple[Scheduler, str]]:
    """Runs a plan by the stand-in in the folder `out`; gives the stand-in and what the console was told."""
    runs = iter(range(100))

    def run(plan: Plan, fates: dict[int, Fate] | None = None, engine: Engine = ENGINE, **ways: Any) -> tuple[Scheduler, str]:
        told, made = io.StringIO(), Scheduler(tmp_path / f"tasks{next(runs)}", server, fates or {})
        ways = {"ways": Ways(**ways), "console": Console(told, width=400)}
        run_away(plan, tmp_path / "out", engine, opener=lambda *_: made, **ways)
        return made, told.getvalue()

    return run


def test_records_of_all_tasks_become_one_file_whose_chains_hold(away: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES)
    scheduler, said = away(plan)
    assert [task.said() for task in scheduler.started] == [f"task {n} (shard {n}/4, 1 case)" for n in (1, 2, 3, 4)]
    made = lines(tmp_path / "out")
    assert sizes_of(made) == [16384, 8192, 4096, 2048], "as they came"
    assert {r["origin"]["shard"] for r in made} == {"1/4", "2/4", "3/4", "4/4"}
    assert "ERROR" not in {r["status"] for r in made}
    assert verify(tmp_path / "out").exit_code == 0 and scheduler.closed
    assert said.index("n=2048 cpu") < said.index("n=16384 cpu", said.index("workload"))


def test_the_cases_of_a_lost_node_are_errors_and_a_resumed_run_runs_those_and_no_others(away: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES)
    away(plan, {1: node_died}, Engine("ray", cases_per_task=2))
    first = lines(tmp_path / "out")
    lost = [r for r in first if r["status"] == "ERROR"]
    assert sizes_of(lost) == [2048, 8192] and [r["reasons"] for r in lost] == [["engine.lost"]] * 2
    assert lost[0]["message"] == (
        "task 1 (shard 1/2, 2 cases): node n7 was lost. Nothing is known of this case. "
        f"To run it: aisp-run resume={tmp_path / 'out'}"
    )
    assert lost[0]["key"]["device"] is None and lost[0]["machine"] == {}
    scheduler, said = away(plan, {}, Engine("ray", cases_per_task=2), resume=True)
    assert [task.said() for task in scheduler.started] == ["task 1 (shard 1/2, 2 cases)"]
    assert "2 of 4 cases have a record that stands; 2 are run." in said
    whole = lines(tmp_path / "out")
    assert whole[:4] == first and sizes_of(whole[4:]) == [2048, 8192]
    assert [r["supersedes"]["sha256"] for r in whole[4:]] == [r["chain"]["sha256"] for r in lost]
    assert {r["supersedes"]["why"] for r in whole[4:]} == {"its task came back without a record of it"}
    assert verify(tmp_path / "out").exit_code == 0


def test_a_run_on_this_machine_also_runs_what_a_node_lost(away: Any, tmp_path: Path, server: ForkServer) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:2])
    away(plan, {2: node_died})
    assert "1 of 2 cases have a record that stands; 1 are run." in resumed(plan, tmp_path / "out", server)
    assert sizes_of(lines(tmp_path / "out"))[2:] == [4096] and verify(tmp_path / "out").exit_code == 0


def test_where_only_some_cases_of_a_shard_are_left_each_is_a_task_of_its_own(away: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:3])
    away(plan, {3: node_died})
    scheduler, _ = away(plan, {}, Engine("ray", cases_per_task=2), resume=True)
    assert [(task.said(), task.replaces.keys()) for task in scheduler.started] == [("task 1 (shard 3/3, 1 case)", {"2"})]
    assert away(plan, resume=True)[0].started == [], "nothing is left"


def test_a_record_stands_wherever_it_was_measured(away: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:1])
    monkeypatch.setattr("aisp_runner.keys._device", lambda *asked: ("a CPU of the node", None))
    away(plan)
    monkeypatch.undo()
    assert lines(tmp_path / "out")[0]["key"]["device"] == "a CPU of the node"
    assert away(plan, resume=True)[0].started == []


def doctored(**changes: Any) -> Fate:
    def fate(task: Task, file: Path) -> Ended:
        rewritten(file, 0, **changes)
        return Ended(task, file)

    return fate


def rechained(**changes: Any) -> Fate:
    """The same by somebody who makes the chain fit again."""

    def fate(task: Task, file: Path) -> Ended:
        (text,) = file.read_text().splitlines()
        made = {key: value for key, value in (json.loads(text) | changes).items() if key != "chain"}
        file.unlink()
        record.append(file, made)
        return Ended(task, file)

    return fate


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        (doctored(variant="other"), "the file was changed after it was written"),
        (rechained(plan_sha256="0" * 64), "a record of plan 000000000000, and this run is of plan"),
        (rechained(variant="other"), "which is no case of this task"),
        (rechained(status="SPLENDID"), "no record of this version: status"),
        (
            rechained(key={"case": "x", "sources": "y", "runner": "z", "device": None, "driver": None}),
            "key: 'sha256' is a required property",
        ),
    ],
    ids=["changed", "another plan", "another case", "no status", "no key"],
)
def test_what_is_no_record_of_this_plan_is_not_taken(away: Any, tmp_path: Path, fate: Fate, said: str) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:1])
    away(plan, {1: fate})
    (refused,) = lines(tmp_path / "out")
    assert refused["reasons"] == ["engine.refused"] and said in refused["message"]
    assert refused["samples"] == [] and refused["evidence"] == []


def test_another_version_of_the_runner_on_a_node_is_not_taken(
    away: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:1])

    def older(task: Task, file: Path) -> Ended:
        (text,) = file.read_text().splitlines()
        key = json.loads(text)["key"]
        return rechained(key=key | {"runner": "0.0.9+abc"})(task, file)

    away(plan, {1: older})
    (refused,) = lines(tmp_path / "out")
    assert refused["reasons"] == ["engine.refused"] and "the runner: 0.0.9+abc there, " in refused["message"]


def test_a_record_too_many_is_not_taken_and_those_before_it_are(away: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:2])

    def twice(task: Task, file: Path) -> Ended:
        (text,) = file.read_text().splitlines()
        record.append(file, {key: value for key, value in json.loads(text).items() if key != "chain"})
        return Ended(task, file)

    away(plan, {1: twice})
    assert sorted(sizes_of(lines(tmp_path / "out"))) == [2048, 4096]
    assert "ERROR" not in {r["status"] for r in lines(tmp_path / "out")}


def test_an_interruption_cancels_the_tasks_and_keeps_what_is_recorded(away: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:2])
    held: list[Scheduler] = []

    def interrupt(task: Task, file: Path) -> Ended:
        raise KeyboardInterrupt

    class Watched(Scheduler):
        def start(self, tasks: Sequence[Task], plan: bytes) -> None:
            held.append(self)
            super().start(tasks, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(__name__ + ".Scheduler", Watched)
        with pytest.raises(KeyboardInterrupt):
            away(plan, {1: interrupt})
    (scheduler,) = held
    assert scheduler.cancelled and scheduler.closed
    assert sizes_of(lines(tmp_path / "out")) == [4096]


def test_cases_of_different_devices_in_one_table_are_told(away: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan(tmp_path / "kernels", SIZES[:2])
    models = iter(("EPYC", "Xeon"))
    monkeypatch.setattr("aisp_runner.keys._device", lambda *asked: (next(models), None))
    _, said = away(plan)
    assert "the cases on cpu were measured on 2 different devices or drivers: EPYC (driver None), Xeon (driver None)" in said


def test_a_part_of_a_plan_goes_out_as_that_part(away: Any, tmp_path: Path) -> None:
    from aisp_runner.plan_file import Shard

    plan = small_plan(tmp_path / "kernels", SIZES)
    scheduler, _ = away(plan, {}, Engine("ray", cases_per_task=2), shard=Shard(2, 4))
    assert [task.said() for task in scheduler.started] == ["task 1 (shard 2/4, 1 case)"]
    assert sizes_of(lines(tmp_path / "out")) == [4096]
    assert shrunk(plan, 1).cases[0].axes == {"n": 4096}
