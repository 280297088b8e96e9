"""Which lanes there are, and which case may go where."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from bench import case

from aisp_runner.case import Case
from aisp_runner.errors import ConfigError
from aisp_runner.lanes import cores
from aisp_runner.lanes.asked import Asked
from aisp_runner.lanes.layout import Layout, each, is_plain, layout, threads
from lanes.nvml import UUIDS, Nvml, installed


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores without a quota, four GPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores, "quota_cores", lambda: None)
    installed(monkeypatch, Nvml(4))


def on(folder: Path, device: str = "cuda", **changes: Any) -> Case:
    return case(folder, device=device, **changes)


def shape(made: Layout) -> list[list[tuple[int, list[int], int]]]:
    """(number, indices of its GPUs, how many cores) of each lane of each phase."""
    return [[(lane.number, [gpu.index for gpu in lane.gpus], len(lane.cores)) for lane in p.lanes] for p in made.phases]


def test_spread_gives_each_gpu_a_lane_with_cores_of_its_own(tmp_path: Path) -> None:
    made = layout(Asked("all"), [on(tmp_path)])
    assert shape(made) == [[(1, [0], 2), (2, [1], 2), (3, [2], 2), (4, [3], 2)]] and made.said == ()
    given = [core for lane in made.phases[0].lanes for core in lane.cores]
    assert len(given) == len(set(given)) == 8


def test_with_too_few_cores_there_are_fewer_lanes_and_that_is_said(tmp_path: Path) -> None:
    made = layout(Asked("all", lane_cores=3), [on(tmp_path)])
    assert shape(made) == [[(1, [0], 4), (2, [1], 4)]]
    assert made.said == ("2 GPU lanes instead of 4: there are 8 cores, and a lane has at least 3 (cpus.lane_cores).",)


def test_each_case_names_its_gpu_and_runs_there_alone(tmp_path: Path) -> None:
    asked = Asked((0, 2), "each")
    cases = each([on(tmp_path, n=2048), on(tmp_path, "cpu")], asked)
    assert [c.gpu for c in cases] == [UUIDS[0], UUIDS[2], ""] and len({c.sha256() for c in cases}) == 3
    assert cases[0].title.endswith("/ n=2048 / cuda GPU-aaaaaaaa".replace("n=2048", "n=2048"))
    made = layout(asked, cases)
    assert shape(made) == [[(1, [0], 4), (2, [2], 4)], [(3, [], 8)]]
    assert [[made.fits(lane, c) for c in cases[:2]] for lane in made.phases[0].lanes] == [[True, False], [False, True]]


def test_each_gpu_gets_its_turn_where_cores_are_short(tmp_path: Path) -> None:
    cases = each([on(tmp_path)], Asked((0, 1, 2), "each"))
    made = layout(Asked(lane_cores=4), cases)  # as a resumed run, which finds the GPUs in its plan
    assert shape(made) == [[(1, [0], 4), (2, [1], 4)], [(3, [2], 4)]]
    assert [[phase.takes(c) for c in cases] for phase in made.phases] == [[True, True, False], [False, False, True]]
    assert not is_plain(Asked(), cases) and is_plain(Asked(), [on(tmp_path)])


def test_ranks_come_after_the_others_with_all_gpus_and_all_cores(tmp_path: Path) -> None:
    made = layout(Asked(2), [on(tmp_path), on(tmp_path, ranks=2), on(tmp_path, "cpu")])
    assert shape(made) == [[(1, [0], 4), (2, [1], 4)], [(3, [0, 1, 2, 3], 8)], [(4, [], 8)]]


def test_cpu_lanes_share_the_cores(tmp_path: Path) -> None:
    assert shape(layout(Asked(cpu_lanes=3), [on(tmp_path, "cpu")])) == [[(1, [], 2), (2, [], 2), (3, [], 2)]]


@pytest.mark.parametrize(
    ("asked", "device", "count"),
    [
        (Asked(), "cpu", 7),
        (Asked("all"), "cuda", 1),
        (Asked(2), "cuda", 3),
        (Asked(2), "cpu", 7),
        (Asked(cpu_lanes=2), "cpu", 3),
    ],
)
def test_workers_get_the_threads_of_their_lane_less_one(asked: Asked, device: str, count: int) -> None:
    assert threads(asked, device, 8) == count


def test_a_plan_whose_workers_need_more_than_a_lane_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"have 7 threads, and a lane has 2 cores.*threads=1"):
        layout(Asked("all"), [on(tmp_path, threads=7)])


def test_a_plan_for_a_gpu_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    bound = dataclasses.replace(on(tmp_path), gpu="GPU-elsewhere")
    with pytest.raises(ConfigError, match="the plan's cases are for GPU-elsewhere, which is not visible here"):
        layout(Asked(), [bound])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("all", "one"), r"gpus=all with gpus\.mode=one: 4 GPUs are meant"),
        (Asked("all", "each"), r"the plan's cases name no GPU"),
    ],
)
def test_what_contradicts_is_refused(asked: Asked, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        layout(asked, [on(tmp_path)])


def test_ranks_cannot_be_measured_on_each_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="addition runs on several GPUs at once"):
        each([on(tmp_path, ranks=2)], Asked("all", "each"))
