"""What changes where each rank has a GPU to itself: plans, content, facts of the machine, readings, protections, ceilings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peak.made import case as peak_case
from peak.made import gpu_peak
from protect.environment.hosts import BASELINE, CANDIDATE
from test_ranks import RANKED, ranked
from test_state import OURS, Card, card, opened  # noqa: F401  card is a fixture

from aisp_runner import calibrate, host, machine
from aisp_runner.calibrate import Schedule
from aisp_runner.case import Plan
from aisp_runner.device_rounds import beside
from aisp_runner.errors import ConfigError
from aisp_runner.execute import run_plan
from aisp_runner.inputs import Content, seed_of
from aisp_runner.listing import Here
from aisp_runner.listing import load as listed
from aisp_runner.measure import Measurement
from aisp_runner.peak import roofline
from aisp_runner.plan import World, plan_of
from aisp_runner.protect.environment.host_placement import HostPlacement
from aisp_runner.protect.environment.pinned_stack import PinnedStack
from aisp_runner.state import GpuReading
from aisp_runner.statistics import Calls

H200 = {"name": "H200", "capability": "9.0", "memory_bytes": 141 * 2**30}
RANKS = """
question: What does a sum over ranks cost?
source: k.py
ranks: 2
baseline: baseline
optimized: [candidate]
inputs:
  a: {shape: [n], dtype: float32}
outputs:
  c: {shape: [n], dtype: float32, rtol: 1.0e-6, atol: 0.0}
axes:
  cpu: {n: [4]}
  cuda: {n: [8]}
claim: wall
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "workload").mkdir()
    (tmp_path / "k.py").write_text(RANKED.format(act="pass"))
    put(tmp_path, RANKS)
    return tmp_path


def put(folder: Path, text: str) -> None:
    (folder / "workload" / "tst_ranks.yaml").write_text(text)


def plan(folder: Path, gpus: int, *overrides: str) -> Plan:
    return plan_of(["+workload=tst_ranks", *overrides], [folder], World((H200,) * gpus, "" if gpus else "none", 4))


# Plans


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cpu"), (2, "cuda"), (8, "cuda")])
def test_ranks_run_on_gpus_where_there_is_one_for_each(mine: Path, gpus: int, device: str) -> None:
    made = plan(mine, gpus)
    assert [(c.device, c.ranks) for c in made.cases] == [(device, 2)] and not made.skips
    assert [(t.name, t.rank) for t in (*made.cases[0].inputs, *made.cases[0].outputs)] == [
        *(("a@0", 0), ("a@1", 1)),
        *(("c@0", 0), ("c@1", 1)),
    ]


@pytest.mark.parametrize(
    ("text", "advice"),
    [(RANKS, "run it with device=cpu"), (RANKS.replace("  cpu: {n: [4]}\n", ""), "declare fewer ranks")],
    ids=["it has sizes for a CPU", "it has none"],
)
def test_more_ranks_than_gpus_is_skipped_and_says_what_to_do(
    mine: Path, text: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(mine, text)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    (skip,) = plan(mine, 1, "device=cuda").skips
    why = "it runs as 2 ranks, each on a GPU of its own (`ranks`), and 1 is visible (CUDA_VISIBLE_DEVICES=3): show it more, or "
    assert skip.reason == why + advice


def test_capability_is_asked_of_every_ranks_gpu(mine: Path) -> None:
    put(mine, RANKS + 'environment: {min_capability: "9.0"}\n')
    world = World((H200, {**H200, "name": "A100", "capability": "8.0"}), "", 4)
    (skip,) = plan_of(["+workload=tst_ranks", "device=cuda"], [mine], world).skips
    assert skip.reason == "A100 has compute capability 8.0, and 9.0 is needed"


def test_ranks_have_one_gpu_each(mine: Path) -> None:
    put(mine, RANKS + "environment: {gpus: 4}\n")
    with pytest.raises(ConfigError, match=r"environment\.gpus: 4, and each of 2 ranks has one GPU to itself\. Say gpus: 2, or"):
        plan(mine, 8)
    put(mine, RANKS + "environment: {gpus: 2}\n")
    assert plan(mine, 2).cases


def test_a_listing_tells_how_many_gpus_ranks_need(mine: Path) -> None:
    (one,) = listed([mine], Here(gpus=1, capability="9.0")).workloads
    assert (one.devices, one.not_here) == (["cpu"], {"cuda": "needs 2 GPUs, 1 visible"})


def test_clocks_are_not_locked_on_one_of_several_gpus(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"environment\.lock_clocks: addition runs on 2 GPUs, and the first one's clocks"):
        run_plan(Plan((ranked(tmp_path, device="cuda"),)), tmp_path / "run", lock_clocks=True)


# Content


def test_ranks_on_gpus_draw_from_generators_of_their_own_with_seeds_that_differ(tmp_path: Path) -> None:
    """Two places that are told apart and both can compute: the CPU, and the CPU with a number."""
    places = [torch.device("cpu"), torch.device("cpu", 0)]
    device: Any = SimpleNamespace(place=places.__getitem__, empty=lambda shape, dtype, rank: torch.empty(shape))
    given = ranked(tmp_path).inputs
    content = Content(given, 4, device)
    assert [seed_of(7, rank) == 7 for rank in range(3)] == [True, False, False]
    assert len({seed_of((1 << 63) - 1, rank) for rank in range(64)}) == 64
    assert all(0 <= seed_of((1 << 63) - 1, rank) < 1 << 63 for rank in range(64))
    assert list(content.sources) == places


# The machine


def test_facts_tell_of_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [{"name": f"GPU {n}", "missing": {"driver": "no"}} for n in range(2)]
    monkeypatch.setattr(machine, "gpus", lambda: (gpus, ""))
    told = machine.facts("cuda")
    assert (told["gpu"], told["other_gpus"], told["gpu_count"]) == ({"name": "GPU 0"}, [{"name": "GPU 1"}], 2)
    assert (told["missing"]["gpu.driver"], told["missing"]["other_gpus[0].driver"]) == ("no", "no")


def test_readings_are_of_all_gpus_of_the_case_together(card: Card) -> None:  # noqa: F811
    gpu = opened({OURS})
    gpu.watch(2)
    assert gpu.clock_mhz() == 1200, "the slower of 1500 and 1200"
    assert dataclasses.replace(gpu.read(), load=None) == GpuReading(
        1200, 2619, 345.6, 61, ("sw_power_cap", "hw_thermal_slowdown"), 1, None
    )
    assert list(gpu.missing) == ["power_limit_w"], "the second GPU does not tell it"
    gpu.watch(1)
    assert gpu.clock_mhz() == 1500
    gpu.close()
    gpu.watch(2)
    assert gpu.clock_mhz() is None


def test_a_gpu_that_nvml_does_not_show_leaves_nothing_told_of_the_others(card: Card) -> None:  # noqa: F811
    gpu = opened({OURS})
    gpu.watch(3)
    assert dataclasses.replace(gpu.read(), load=None) == GpuReading(None, None, None, None, None, None)
    assert gpu.missing == {"gpus": "NVML shows 2 of 3 GPUs"}
    gpu.watch(2)
    assert gpu.clock_mhz() == 1200 and gpu.missing == {}
    gpu.close()


def test_nvml_that_fails_meanwhile_is_said(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def lost() -> int:
        raise card.NVMLError("GPU is lost")

    gpu = opened({OURS})
    monkeypatch.setattr(card, "nvmlDeviceGetCount", lost)
    gpu.watch(2)
    assert gpu.clock_mhz() is None and gpu.missing["gpus"] == "NVML shows 0 of 2 GPUs: GPU is lost"
    gpu.close()


@pytest.mark.parametrize(
    ("ranks", "device", "together"),
    [(1, "cuda", [["b", "c"], ["control"]]), (2, "cpu", [["b", "c"], ["control"]]), (2, "cuda", [["b"], ["c"], ["control"]])],
)
def test_first_calls_of_ranks_on_gpus_are_made_by_one_variant_at_a_time(
    ranks: int, device: str, together: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Over(Exception):
        """Nothing that comes after it is asked for."""

    def end(judge: Any) -> Any:
        raise Over

    monkeypatch.setattr(calibrate, "_choose", end)
    seen: list[list[str]] = []
    given = SimpleNamespace(ranks=ranks, device=device)
    cast = SimpleNamespace(all=lambda: ["b", "c", "control"])
    judge: Any = SimpleNamespace(case=given, cast=cast, arms={"baseline": "b", "candidate": "c"}, rehearse=seen.append)
    with pytest.raises(Over):
        calibrate.calibrate(judge)
    assert seen == together


# Protections


def judge_of_two() -> Any:
    """Arms of two ranks each: the pids of the second are one higher."""
    arms = {
        role: SimpleNamespace(role=role, pid=pid, pids=(pid, pid + 1))
        for role, pid in (("baseline", BASELINE), ("candidate", CANDIDATE))
    }
    cast = SimpleNamespace(sets=[arms])
    staged = {"baseline": SimpleNamespace(folder="/staged/baseline")}
    return SimpleNamespace(cast=cast, staged=staged, device=SimpleNamespace(name="cuda"))


def test_libraries_and_gpus_of_every_rank_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {CANDIDATE + 1: {"libm.so.6": {"/mine/libm.so.6"}}}
    monkeypatch.setattr(host, "libraries", lambda pid: own.get(pid, {"libm.so.6": {"/lib/libm.so.6"}}))
    opened_by = {BASELINE: {"/dev/nvidia0"}, BASELINE + 1: {"/dev/nvidia1"}, CANDIDATE: {"/dev/nvidia0", "/dev/nvidia1"}}
    monkeypatch.setattr(host, "gpu_files", lambda pid: opened_by.get(pid, {"/dev/nvidia1", "/dev/nvidia2"}))
    devices, software = PinnedStack().judge_conclude(judge_of_two())
    assert (software.status, software.observed) == ("fail", "the candidate loaded its own copy of libm.so.6")
    assert (devices.status, devices.observed) == ("fail", "the candidate has /dev/nvidia2 open"), "ranks may reach one another"


def test_memory_of_every_rank_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    given = host.Placement(0, "SCHED_OTHER", frozenset({1}))
    monkeypatch.setattr(host, "placements", lambda pid: [given])
    monkeypatch.setattr(host, "given_placement", lambda judge: given)
    bound = {CANDIDATE + 1: "bind:1"}
    monkeypatch.setattr(host, "pages", lambda pid: host.Pages(frozenset({bound.get(pid, "default")}), {0: 1}))
    found = HostPlacement().judge_conclude(judge_of_two())
    assert [e.observed for e in found if e.status == "fail"] == [
        "memory of the candidate has the policy bind:1, which none of the baseline's has"
    ]


@pytest.mark.parametrize(("ranks", "status"), [(1, "pass"), (2, "unavailable")])
def test_demands_hold_for_every_gpu_of_the_case(ranks: int, status: str) -> None:
    facts = {"gpu": {"name": "NVIDIA H200"}, "other_gpus": [{"name": "NVIDIA A100"}, {"name": "NVIDIA L4"}]}
    bench: Any = SimpleNamespace(pool=SimpleNamespace(facts={"cuda": facts}))
    asked: Any = SimpleNamespace(device="cuda", ranks=ranks, demands={"gpu": "NVIDIA H200"})
    (found,) = PinnedStack().judge_seal(bench, asked)
    assert found.status == status and ("NVIDIA A100" in found.observed) == (ranks == 2)


def test_time_stamps_of_several_gpus_are_not_taken(tmp_path: Path) -> None:
    given = ranked(tmp_path)
    judge: Any = SimpleNamespace(
        case=dataclasses.replace(given, measure=dataclasses.replace(given.measure, device_clock="cupti"))
    )
    made = Measurement(Schedule(Calls((1, 2), (1, 2)), "graph"))
    beside(judge, made)
    assert made.no_device_clock == "2 ranks run on as many GPUs, whose clocks have no common start" and not made.busy


def test_ceilings_are_those_of_all_gpus_together() -> None:
    one, two = peak_case(), dataclasses.replace(peak_case(), ranks=2)
    alone, shared = (roofline.share(each, 6e-3, gpu_peak()) for each in (one, two))
    assert alone is not None and shared is not None
    assert shared["bytes_share"] == pytest.approx(alone["bytes_share"] / 2)
    assert shared["ceiling"]["bytes_per_s"] == 2 * alone["ceiling"]["bytes_per_s"]
    floors = [roofline.floor_s(each, gpu_peak()) for each in (one, two)]
    assert floors[0] is not None and floors[1] == pytest.approx(floors[0] / 2)
