"""Calibration and rounds, from the samples of records."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from bench import case, tried

from aisp_runner.case import Measure
from aisp_runner.forkserver import ForkServer
from aisp_runner.protect import registry

pytest_plugins = ("shared_server",)

SPINS = """
    def candidate(a, b, c):
        end = time.perf_counter() + 0.0005
        torch.add(a, b, out=c)
        while time.perf_counter() < end:
            pass

    def baseline(a, b, c):
        end = time.perf_counter() + 0.001
        torch.add(a, b, out=c)
        while time.perf_counter() < end:
            pass
"""
"""A candidate of half a millisecond, and a baseline of a whole one."""


def measured(server: ForkServer, folder: Path, **knobs: Any) -> dict[str, Any]:
    protections = registry.select({"disable": ["timing.drain_bound"]})  # on a busy machine it has a say of its own
    return tried(case(folder, SPINS, n=64, measure=Measure(**knobs), protections=protections), server, folder)


def timed(made: dict[str, Any]) -> dict[int, list[tuple[str, int]]]:
    """(arm, calls) of each sample, by round."""
    rounds: dict[int, list[tuple[str, int]]] = {}
    for s in made["samples"]:
        if s["round"] >= 0:
            rounds.setdefault(s["round"], []).append((s["arm"], s["calls"]))
    return rounds


@pytest.fixture(scope="module")
def made(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A record of eight rounds."""
    return measured(server, tmp_path_factory.mktemp("case"), rounds=8, half_width=0.0, calls=(2, 6), seconds=60.0)


def test_a_candidate_of_half_the_time_is_twice_as_fast(made: dict[str, Any]) -> None:
    assert made["speedup"] is not None, made["message"]
    assert 1.5 < made["speedup"]["value"] < 2.5
    assert made["speedup"]["low"] <= made["speedup"]["value"] <= made["speedup"]["high"]
    assert 800 < made["clock"]["baseline_us"] < 1800 and 400 < made["clock"]["candidate_us"] < 1200


def test_a_round_is_an_empty_batch_and_a_short_and_a_long_one_of_each_arm(made: dict[str, Any]) -> None:
    rounds = timed(made)
    assert list(rounds) == list(range(8)) and made["clock"]["rounds"] == 8
    for batches in rounds.values():
        assert sorted(batches) == [("baseline", 0), ("baseline", 2), ("baseline", 6), ("candidate", 2), ("candidate", 6)]


def test_which_arm_goes_first_alternates(made: dict[str, Any]) -> None:
    first = [next(arm for arm, calls in batches if calls == 6) for batches in timed(made).values()]
    assert first == ["baseline", "candidate"] * 4


def test_both_arms_of_a_comparison_run_on_the_same_seed_and_no_two_on_one(made: dict[str, Any]) -> None:
    pairs: dict[tuple[int, int], set[int]] = {}
    for s in made["samples"]:
        if s["round"] >= 0 and s["calls"]:
            pairs.setdefault((s["round"], s["calls"]), set()).add(s["seed"])
    assert all(len(seeds) == 1 for seeds in pairs.values())
    assert len({seed for seeds in pairs.values() for seed in seeds}) == 16


def test_batches_do_not_overlap(made: dict[str, Any]) -> None:
    times = [(s["issued_ns"], s["done_ns"]) for s in made["samples"]]
    assert times == sorted(times)
    assert all(done <= issued for (_, done), (issued, _) in itertools.pairwise(times))


def test_warming_up_is_in_the_samples_and_not_in_a_round(made: dict[str, Any]) -> None:
    warm = [s for s in made["samples"] if s["round"] == -1]
    assert {s["arm"] for s in warm} == {"baseline", "candidate"}
    assert max(s["calls"] for s in warm if s["arm"] == "candidate") >= 6, "every slot that is timed was visited before"


def test_calls_that_were_asked_for_are_used(made: dict[str, Any]) -> None:
    assert made["clock"]["calls"] == {"baseline": [2, 6], "candidate": [2, 6]}
    assert made["clock"]["mode"] == "shared_memory" and made["clock"]["why_not_gated"] == ""


def test_calls_are_calibrated_to_the_length_of_a_batch_for_each_arm(server: ForkServer, tmp_path: Path) -> None:
    calls = measured(server, tmp_path, rounds=1, min_rounds=1, batch_ms=10.0)["clock"]["calls"]
    assert 5 <= calls["baseline"][1] <= 12 and 9 <= calls["candidate"][1] <= 24
    assert all(short == max(1, long // 5) for short, long in calls.values())


def test_a_call_longer_than_a_batch_is_still_called_twice(server: ForkServer, tmp_path: Path) -> None:
    calls = measured(server, tmp_path, rounds=1, min_rounds=1, batch_ms=0.1)["clock"]["calls"]
    assert calls == {"baseline": [1, 2], "candidate": [1, 2]}


@pytest.mark.parametrize(
    ("knobs", "rounds"),
    [
        ({"rounds": 3, "min_rounds": 2, "half_width": 0.0}, 3),
        ({"rounds": 12, "min_rounds": 6, "half_width": 10.0}, 6),
        ({"rounds": 12, "min_rounds": 2, "half_width": 0.0, "seconds": 0.0}, 2),
        ({"rounds": 12, "min_rounds": 7, "half_width": 10.0, "seconds": 0.0}, 7),
    ],
    ids=["rounds", "narrow enough", "time is up", "at least so many"],
)
def test_measuring_ends_when(server: ForkServer, tmp_path: Path, knobs: dict[str, Any], rounds: int) -> None:
    assert len(timed(measured(server, tmp_path, calls=(1, 2), **knobs))) == rounds


def test_measuring_ends_early_once_a_protection_has_refused(server: ForkServer, tmp_path: Path) -> None:
    code = SPINS.replace("out=c)", "out=c); c[0] += 1", 1)
    measure = Measure(rounds=12, min_rounds=3, half_width=0.0, calls=(1, 2), seconds=60.0)
    made = tried(case(tmp_path, code, n=64, measure=measure), server, tmp_path)
    assert made["status"] == "INVALID" and len(timed(made)) == 3
