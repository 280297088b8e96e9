"""The real line, run by the runner's own benchmarks: tiny versions on a CPU."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import UPSET_BY_LOAD

from aisp_runner.dev import clock, line, overhead, protections, repeat, workloads
from aisp_runner.dev.settings import measure
from aisp_runner.execute import Pool
from aisp_runner.forkserver import ForkServer
from aisp_runner.report import Console

pytest_plugins = ("shared_server",)

TINY: dict[str, Any] = {"control": False, "rounds": 2, "min_rounds": 2, "half_width": 10.0, "calls": (1, 4), "processes": 1}
SMALL = workloads.product("matmul 96", 96, "float32")


@pytest.fixture
def pool(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool over the shared fork server, with an operation small enough for a test."""
    for module in (clock, repeat, overhead, protections):
        for name in ("clock_operations", "repeat_operations"):
            monkeypatch.setattr(module, name, lambda device, only="": (SMALL,), raising=False)
    made = Pool()
    made.servers["cpu"] = server
    yield made
    made.servers.clear()  # the fixture's own
    made.__exit__()


def quiet() -> Console:
    return Console(io.StringIO(), 300)


def excused(problem: str) -> bool:
    """Whether a row has no number for no other reason than a busy machine."""
    return any(name in problem for name in UPSET_BY_LOAD)


def test_a_record_says_what_every_worker_took(pool: Pool) -> None:
    made = line.run(SMALL.case("cpu", measure("quick", **TINY | {"processes": 2})), pool)
    if line.told(made):
        assert excused(line.told(made))
        return
    workers = line.by_worker(made)
    assert set(workers) == {(p, arm) for p in (0, 1) for arm in ("baseline", "candidate")}
    assert all(len(times) == 4 for times in workers.values()), "two rounds, two long batches each"
    assert made["seconds"] >= made["stages_s"]["total"]
    told_us = made["clock"]["baseline_us"]
    seen_us = sorted(us for (_, arm), times in workers.items() for us in times if arm == "baseline")
    assert seen_us[0] <= told_us <= seen_us[-1]


def test_fresh_runs_share_no_process(pool: Pool) -> None:
    case = SMALL.case("cpu", measure("quick", **TINY))
    pids = []
    for fresh in (True, False, True):
        line.run(case, pool, fresh)
        pids.append({arm.pid for crew in pool.crews.values() for arm in crew.arms.values()})
    assert pids[0] == pids[1] and not pids[1] & pids[2]


def test_a_refusal_is_told() -> None:
    refused = {"status": "INVALID", "speedup": None, "reasons": ["memory.late_writes"], "message": "25 slots"}
    assert line.told(refused) == "INVALID memory.late_writes: 25 slots"
    assert line.told({"status": "VALID", "speedup": {"value": 1.0}, "reasons": [], "message": ""}) == ""


def test_the_clock_is_held_against_its_peers(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisp_runner.dev.company.answers", lambda *words: [{"op": "matmul 96", "perf_counter": [20.0, 22.0]}])
    rows = clock.run(quiet(), "cpu", tmp_path / "clock.json", repeats=2, pool=pool, **TINY)
    (row,) = json.loads((tmp_path / "clock.json").read_text())["rows"]
    assert row["op"] == "matmul 96" and row["truth_us"] == 21.0 and rows.rows[0]["op"] == row["op"]
    if "problem" in row:
        assert excused(row["problem"])
        return
    assert row["wall_bias"] == pytest.approx(row["wall_us"] - 21.0) and len(row["wall_workers_us"]) == 2
    assert row["wall_calls"]["baseline"] == [1, 4]


def test_a_function_is_held_against_itself_and_against_a_slower_twin(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisp_runner.dev.company.answers", lambda *words: [{"op": "matmul 96", "speedups": [1.0, 1.1]}])
    told = repeat.repeat(quiet(), "cpu", 1, "quick", 0.01, conditions=("quiet",), pool=pool, **TINY).rows
    assert [(row["tool"], row["condition"]) for row in told] == [("aisp-run", "quiet"), ("perf_counter A, B", "quiet")]
    assert told[1]["worst"] == pytest.approx(0.0953, abs=1e-4) and told[1]["sd"] == pytest.approx(0.0674, abs=1e-4)
    monkeypatch.setattr(repeat, "EFFECTS", {"5": 0.05})
    (row,) = repeat.effects(quiet(), "cpu", 1, "quick", 0.01, pool=pool, **TINY | {"calls": (1, 6)}).rows
    assert row["effect"] == 0.05 and row["op"] == "chunked add"
    if row["problem"]:
        assert excused(row["problem"])
        return
    assert row["runs"] == 1 and -0.5 < row["estimate"] < 0.8 and len(row["intervals"]) == 1


def test_the_stages_of_a_verdict_add_up(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "measure", lambda name: measure(name, **TINY))
    monkeypatch.setattr(overhead, "Pool", lambda: line.pooled(pool))
    (row,) = overhead.run(quiet(), "cpu", 0, settings=("quick",), only="matmul").rows
    assert row["what"] == "matmul 96, quick" and row["which"] == "first"
    stages = row["start"] + row["calibrate"] + row["measure"] + row["rest"]
    assert stages == pytest.approx(row["seconds"]) and row["start"] > 0
    assert row["batches"] > 8 and row["overhead_ms"] > 0


def test_a_verdict_is_timed_with_all_protections_and_with_none(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protections, "measure", lambda name: measure(name, **TINY))
    monkeypatch.setattr(protections, "Pool", lambda: line.pooled(pool))
    (row,) = protections.run(quiet(), "cpu", 1, settings=("quick",)).rows
    assert row["what"] == "matmul 96, quick" and row["runs"] == 1
    assert row["strict_s"] > 0 and row["off_s"] > 0 and row["ratio"] == row["strict_s"] / row["off_s"]
    assert set(row) >= {column.key for column in protections.COLUMNS}
