"""Cases are handed out to lanes with made-up GPUs, whose processes are real and do what a test has written down."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import pytest
from bench import case

from aisp_runner.case import Plan
from aisp_runner.errors import LaneError
from aisp_runner.execute import Bench
from aisp_runner.lanes import dispatch
from aisp_runner.lanes.dispatch import Dispatch, Done, Terms
from aisp_runner.lanes.gpus import Gpu
from aisp_runner.lanes.layout import Lane, Layout, Phase
from aisp_runner.plan_file import save_plan
from aisp_runner.pool import Pool
from aisp_runner.progress import Progress
from aisp_runner.report import Console
from aisp_runner.resume import nothing
from lanes.nvml import UUIDS


class Stage:
    """A run of so many cases on lanes with a GPU each."""

    def __init__(self, folder: Path, cases: int, gpus: int = 2, bound: bool = False) -> None:
        self.folder, self.told = folder, io.StringIO()
        each = [UUIDS[n] for n in range(gpus)] if bound else [""]
        made = [case(folder, n=1024 * (1 + n), device="cuda", gpu=gpu) for n in range(cases) for gpu in each]
        self.plan = Plan(tuple(made))
        save_plan(self.plan, folder / "run" / "plan.json")
        lanes = tuple(Lane(n + 1, (n,), (Gpu(UUIDS[n], n),)) for n in range(gpus))
        layout = Layout((Phase(lanes, lambda case: True),))
        bench = Bench(self.plan, folder / "run", Console(self.told, width=400), Pool())
        slots, self.progress = nothing(made).slots, Progress(len(made))
        self.begun: list[tuple[int, int]] = []
        terms = Terms(tell=lambda slot, lane: self.begun.append((slot.number, lane)))
        self.dispatch = Dispatch(layout, slots, bench, self.progress, terms)

    def acts(self, *words: str) -> None:
        """What the lanes' processes do, a text for each GPU."""
        for uuid, text in zip(UUIDS, words, strict=False):
            (self.folder / uuid).write_text(text)

    def run(self) -> list[Done]:
        found = []
        for done in self.dispatch.done():
            self.progress.add(done.made, done.seconds, done.lane)
            found.append(done)
        return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTS", str(tmp_path))
    monkeypatch.setattr(dispatch, "PROGRAM", (str(Path(__file__).with_name("actor.py")),))
    return tmp_path


def numbers(found: list[Done]) -> list[int]:
    return sorted(done.slot.number for done in found)


def test_every_case_is_run_once_and_its_record_says_where(folder: Path) -> None:
    stage = Stage(folder, 7)
    before = os.sched_getaffinity(0)
    found = stage.run()
    assert numbers(found) == list(range(1, 8)) and sorted(n for n, _ in stage.begun) == list(range(1, 8))
    assert {done.lane for done in found} == {1, 2} and all(done.made["number"] == done.slot.number for done in found)
    on = {done.lane: done.made["lane"] for done in found}
    assert on[2] == {"number": 2, "cores": [1], "gpu": {"uuid": UUIDS[1], "index": 1, "model": ""}}
    assert os.sched_getaffinity(0) == before
    assert [(lane.state, lane.left) for lane in stage.progress.lanes.values()] == [("ended", 0)] * 2
    assert sum(lane.done for lane in stage.progress.lanes.values()) == 7


def test_each_case_goes_to_the_gpu_it_names(folder: Path) -> None:
    found = Stage(folder, 3, bound=True).run()
    assert Counter((done.slot.case.gpu, done.made["lane"]["gpu"]["uuid"]) for done in found) == {
        (UUIDS[0], UUIDS[0]): 3,
        (UUIDS[1], UUIDS[1]): 3,
    }


def test_a_lane_that_dies_costs_one_case_and_is_started_again(folder: Path) -> None:
    stage = Stage(folder, 6)
    stage.acts("run die run run", "run")
    found = stage.run()
    assert numbers(found) == list(range(1, 7)), "the case is not tried again, and no other is lost"
    (lost,) = [done for done in found if done.made["status"] == "ERROR"]
    assert lost.lane == 1 and lost.made["reasons"] == ["LaneError"] and lost.made["lane"]["gpu"]["uuid"] == UUIDS[0]
    assert f"lane 1 GPU 0 ({UUIDS[0]}) ended while it ran this case (SIGKILL)" in lost.made["message"]
    assert lost.made["machine"]["cpu"] == "a CPU", "the facts are those that the lane told"
    assert stage.progress.lanes[1].failed == 1 and stage.progress.lanes[2].failed == 0


def test_a_lane_that_dies_again_and_again_is_closed_and_the_others_go_on(folder: Path) -> None:
    stage = Stage(folder, 8)
    stage.acts("die die die", "later")
    found = stage.run()
    assert numbers(found) == list(range(1, 9))
    assert [done.lane for done in found if done.made["status"] == "ERROR"] == [1, 1, 1]
    assert "is closed: its process ended (SIGKILL), 3 times in a row" in stage.told.getvalue()
    assert stage.progress.lanes[1].state == "closed"


def test_a_lost_gpu_closes_its_lane_and_the_queue_goes_to_the_others(folder: Path) -> None:
    stage = Stage(folder, 6)
    stage.acts("lost", "")
    found = stage.run()
    assert numbers(found) == list(range(1, 7)) and sum(done.lane == 1 for done in found) == 1
    assert f"lane 1 GPU 0 ({UUIDS[0]}) is closed: the GPU is lost: NVML: GPU is lost." in stage.told.getvalue()


def test_what_only_a_lost_gpu_may_run_stays_without_a_record(folder: Path) -> None:
    stage = Stage(folder, 3, bound=True)
    stage.acts("run lost", "")
    found: list[Done] = []
    with pytest.raises(LaneError, match=r"1 cases have no record.*the GPU is lost.*aisp-run resume="):
        for done in stage.dispatch.done():
            found.append(done)
    assert len(found) == 5 and [slot.case.gpu for slot in stage.dispatch.left] == [UUIDS[0]]


def test_after_a_fault_of_the_device_the_next_case_gets_a_fresh_process(folder: Path) -> None:
    stage = Stage(folder, 3, gpus=1)
    stage.acts("run broken run")
    first, broken, after = stage.run()
    assert first.made["pid"] == broken.made["pid"] != after.made["pid"]


def test_a_gpu_in_use_elsewhere_is_left_out(folder: Path) -> None:
    stage = Stage(folder, 4)
    stage.acts("refuse", "")
    assert {done.lane for done in stage.run()} == {2}
    assert "is closed: it is in use by another run" in stage.told.getvalue()


def test_without_any_gpu_nothing_is_run_and_the_reasons_are_told(folder: Path) -> None:
    stage = Stage(folder, 2)
    stage.acts("refuse", "refuse")
    with pytest.raises(LaneError, match=r"2 cases have no record.*lane 1 .*in use by another run; lane 2 .*in use"):
        stage.run()


def test_a_lane_that_waits_for_its_gpu_does_not_hold_up_the_end(folder: Path) -> None:
    stage = Stage(folder, 5)
    stage.acts("wait", "")
    assert {done.lane for done in stage.run()} == {2}
    assert "waiting for at most 60 s" in stage.told.getvalue()


def test_no_more_lanes_are_started_than_there_are_cases(folder: Path) -> None:
    stage = Stage(folder, 1, gpus=4)
    assert len(stage.run()) == 1 and list(stage.progress.lanes) == [1]


def test_ctrl_c_ends_all_lanes(folder: Path) -> None:
    stage = Stage(folder, 40)
    work = stage.dispatch.done()
    next(work)
    processes = [one.process for one in stage.dispatch.lanes]
    with pytest.raises(KeyboardInterrupt):
        work.throw(KeyboardInterrupt)
        list(work)
    assert all(process is not None and process.poll() is not None for process in processes)
