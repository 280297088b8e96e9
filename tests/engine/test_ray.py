"""engine=ray on a cluster of three nodes on this machine: one is killed half-way, and every case is accounted for."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_runs import accounted, command, files

from aisp_runner import record
from aisp_runner.record_file import standing
from aisp_runner.verify_record import verify

pytest.importorskip("ray", reason="ray is not installed: pip install 'aisp-run[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CASES, A_TASK, KILLED_AFTER = 100, 4, 40
LIMIT_S = 900


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without a CPU, and three nodes with one each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", command(environment=True)["PYTHONPATH"])
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    started.test_nodes = [started.add_node(num_cpus=1) for _ in range(3)]
    yield started
    started.shutdown()


def lines(run_dir: Path) -> int:
    file = run_dir / record.FILE
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_node_that_dies_loses_its_own_cases_and_no_others(cluster: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    files(tmp_path, sizes=range(2048, 2048 * (CASES + 1), 2048))
    words = ["run_dir=out", "engine=ray", f"engine.address={cluster.address}"]
    words += [f"engine.cases_per_task={A_TASK}", "engine.cpus_per_task=1"]
    with open(tmp_path / "said.txt", "wb") as said:
        run = subprocess.Popen(command(*words), cwd=tmp_path, env=command(environment=True), stdout=said, stderr=said)
    while lines(tmp_path / "out") < KILLED_AFTER and run.poll() is None:
        assert time.monotonic() - began < LIMIT_S
        time.sleep(0.2)
    assert run.poll() is None, (tmp_path / "said.txt").read_text()
    before_kill = lines(tmp_path / "out")
    cluster.remove_node(cluster.test_nodes[0], allow_graceful=False)
    assert run.wait(LIMIT_S) == 0, (tmp_path / "said.txt").read_text()
    first_s = time.monotonic() - began

    first = accounted(tmp_path / "out", CASES)
    lost = [r for r in first if r["status"] == "ERROR"]
    assert 1 <= len(lost) <= A_TASK
    assert {reason for r in lost for reason in r["reasons"]} == {"engine.lost"}
    assert all("Ray's node" in r["message"] and "aisp-run resume=out" in r["message"] for r in lost)
    assert verify(tmp_path / "out").exit_code == 0

    again = [word for word in words if word != "run_dir=out"]
    resumed = command("resume=out", *again, selected=False)
    done = subprocess.run(resumed, cwd=tmp_path, env=command(environment=True), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{CASES - len(lost)} of {CASES} cases have a record that stands; {len(lost)} are run." in done.stdout
    whole = record.read(tmp_path / "out" / record.FILE)
    assert len(whole) == CASES + len(lost) and whole[:CASES] == first
    assert sorted(r["supersedes"]["sha256"] for r in whole[CASES:]) == sorted(r["chain"]["sha256"] for r in lost)
    stands = standing(whole)
    assert len(stands) == CASES and "ERROR" not in {r["status"] for r in stands}
    assert verify(tmp_path / "out").exit_code == 0
    _figures(first, whole, before_kill, first_s, time.monotonic() - began)


def test_an_interruption_ends_the_tasks_of_a_local_ray_and_keeps_what_is_recorded(tmp_path: Path) -> None:
    files(tmp_path, sizes=range(2048, 2048 * 9, 2048))
    file = tmp_path / "out" / record.FILE
    with open(tmp_path / "said.txt", "wb") as said:
        words = command("run_dir=out", "engine=ray")
        run = subprocess.Popen(words, cwd=tmp_path, env=command(environment=True), stdout=said, stderr=said)
    began = time.monotonic()
    while not file.exists():
        assert run.poll() is None and time.monotonic() - began < LIMIT_S, (tmp_path / "said.txt").read_text()
        time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130, (tmp_path / "said.txt").read_text()
    kept = record.read(file)
    assert 1 <= len(kept) < 8 and "ERROR" not in {r["status"] for r in kept}
    assert "To go on: aisp-run resume=out" in (tmp_path / "said.txt").read_text()
    time.sleep(2)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [line for line in running if "aisp_runner.execute" in line and "aisp-task-" in line]


def _figures(first: list[dict[str, Any]], whole: list[dict[str, Any]], before: int, first_s: float, all_s: float) -> None:
    """Written where AISP_ENGINE_FIGURES names a file, for docs/results/cpu/ray.json."""
    if "AISP_ENGINE_FIGURES" in os.environ:
        import ray

        count = collections.Counter
        told = {
            "command": "AISP_ENGINE_FIGURES=FILE python -m pytest tests/engine/test_ray.py",
            "ray": ray.__version__,
            "python": sys.version.split()[0],
            "machine": {"cpu": whole[0]["machine"]["cpu"], "cores": os.cpu_count()},
            "nodes": "a head without a CPU and three of one CPU each, all on this machine",
            "cases": CASES,
            "cases_a_task": A_TASK,
            "records_when_a_node_was_killed": before,
            "first_run": {"seconds": round(first_s, 1), **_told(first)},
            "resumed": {"seconds": round(all_s - first_s, 1), "records": len(whole) - CASES, **_told(standing(whole))},
            "missing": CASES - len(standing(whole)),
            "superseded": dict(count(r["supersedes"]["why"] for r in whole if "supersedes" in r)),
        }
        Path(os.environ["AISP_ENGINE_FIGURES"]).write_text(json.dumps(told, indent=1) + "\n")


def _told(records: list[dict[str, Any]]) -> dict[str, Any]:
    reasons = collections.Counter(reason for r in records for reason in r["reasons"])
    return {"statuses": dict(collections.Counter(r["status"] for r in records)), "reasons": dict(reasons)}
